package remote

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
)

// What a real VS Code server expects in Regular messages is VS Code's IPC (its ipc.ts): values with
// a type byte, lengths as varints. This is as much of it as one call and its answer need.
const (
	ipcUndefined = 0
	ipcString    = 1
	ipcBuffer    = 2
	ipcVSBuffer  = 3
	ipcArray     = 4
	ipcObject    = 5 // JSON
	ipcInt       = 6

	ipcCall        = 100
	ipcInitialized = 200
	ipcResult      = 201
)

var errIPC = errors.New("not an IPC message")

// Hello is the first message of a window to a real server. It has an answer, with id 0.
func Hello() []byte {
	return appendObject(nil, `{"remoteAuthority":"ssh-remote+test","clientId":"renderer"}`)
}

// EnvironmentCall asks a real server for its environment, under an id of the caller's from 1 on.
func EnvironmentCall(id int) []byte {
	b := binary.AppendUvarint([]byte{ipcArray}, 4)
	b = binary.AppendUvarint(append(b, ipcInt), ipcCall)
	b = binary.AppendUvarint(append(b, ipcInt), uint64(id))
	for _, s := range []string{"remoteextensionsenvironment", "getEnvironmentData"} {
		b = append(binary.AppendUvarint(append(b, ipcString), uint64(len(s))), s...)
	}
	return appendObject(b, `{"remoteAuthority":"ssh-remote+test"}`)
}

func appendObject(b []byte, json string) []byte {
	return append(binary.AppendUvarint(append(b, ipcObject), uint64(len(json))), json...)
}

// Answer is a real server's answer to Hello, or to a call.
type Answer struct {
	ID  int `json:"-"`
	PID int `json:"pid"` // of the server, in the answer to EnvironmentCall
}

// ParseAnswer reads one; an error of the server's is an error here too.
func ParseAnswer(m []byte) (Answer, error) {
	header, body, err := readValue(m, 0)
	if err != nil {
		return Answer{}, err
	}
	var a Answer
	switch ids, _ := header.([]any); {
	case len(ids) == 1 && ids[0] == ipcInitialized:
		return a, nil
	case len(ids) == 2 && ids[0] == ipcResult:
		a.ID, _ = ids[1].(int)
	default:
		return a, fmt.Errorf("%w: %v %q", errIPC, header, body)
	}
	data, _, err := readValue(body, 0)
	if err != nil {
		return a, err
	}
	if object, ok := data.(json.RawMessage); ok {
		err = json.Unmarshal(object, &a)
	}
	return a, err
}

// readValue reads one value, which is an int, a string, a json.RawMessage, a []any or nil,
// and returns the bytes after it.
func readValue(b []byte, depth int) (any, []byte, error) {
	if len(b) == 0 || depth > 8 {
		return nil, nil, errIPC
	}
	kind, b := b[0], b[1:]
	if kind == ipcUndefined {
		return nil, b, nil
	}
	n, used := binary.Uvarint(b)
	if used <= 0 {
		return nil, nil, errIPC
	}
	b = b[used:]
	if kind == ipcInt {
		return int(n), b, nil
	}
	if n > uint64(len(b)) { // an element has a byte at least
		return nil, nil, errIPC
	}
	switch kind {
	case ipcString, ipcBuffer, ipcVSBuffer:
		return string(b[:n]), b[n:], nil
	case ipcObject:
		return json.RawMessage(b[:n]), b[n:], nil
	case ipcArray:
		list := make([]any, n)
		for i := range list {
			var err error
			if list[i], b, err = readValue(b, depth+1); err != nil {
				return nil, nil, err
			}
		}
		return list, b, nil
	}
	return nil, nil, fmt.Errorf("%w: value of type %d", errIPC, kind)
}

// RealServer is the command line that starts the server which testdata/vscode-server.sh installed
// in dir. It prints "Extension host agent listening on PORT" and keeps its files in data.
func RealServer(dir, data, token string) []string {
	auth := []string{"--without-connection-token"}
	if token != "" {
		auth = []string{"--connection-token", token}
	}
	return append([]string{"node", dir + "/out/server-main.js", "--host", "127.0.0.1", "--port", "0",
		"--accept-server-license-terms", "--telemetry-level", "off", "--server-data-dir", data}, auth...)
}
