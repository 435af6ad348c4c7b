package remote

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestParseAnswer(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire string
		want Answer
		bad  bool
	}{
		{"hello", "\x04\x01\x06\xc8\x01\x00", Answer{}, false},
		{"result", "\x04\x02\x06\xc9\x01\x06\x07\x05\x0a{\"pid\":12}", Answer{ID: 7, PID: 12}, false},
		{"result of another kind", "\x04\x02\x06\xc9\x01\x06\x07\x01\x02ok", Answer{ID: 7}, false},
		{"error", "\x04\x02\x06\xca\x01\x06\x07\x01\x02no", Answer{}, true},
		{"no body", "\x04\x02\x06\xc9\x01\x06\x07", Answer{ID: 7}, true},
		{"string too long", "\x01\x7fx", Answer{}, true},
		{"array too long", "\x04\xff\xff\xff\xff\x0f\x00", Answer{}, true},
		{"length without end", "\x01\xff", Answer{}, true},
		{"unknown type", "\x09\x00", Answer{}, true},
		{"empty", "", Answer{}, true},
	} {
		got, err := ParseAnswer([]byte(tt.wire))
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%s: got %+v, %v, want %+v, error: %t", tt.name, got, err, tt.want, tt.bad)
		}
		if tt.bad && !errors.Is(err, errIPC) {
			t.Errorf("%s: got %v, want %v", tt.name, err, errIPC)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte("\x04\x01\x06\xc8\x01\x00"))
	f.Add([]byte("\x04\x02\x06\xc9\x01\x06\x07\x05\x0a{\"pid\":12}"))
	f.Add(EnvironmentCall(1))
	f.Fuzz(func(t *testing.T, m []byte) {
		_, err := ParseAnswer(m)
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		if err != nil && !errors.Is(err, errIPC) && !errors.As(err, &syntax) && !errors.As(err, &kind) {
			t.Errorf("got %v", err)
		}
	})
}
