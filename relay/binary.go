package relay

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
)

// Binary is a program that can be brought to a far end of its platform: it
// takes the arguments "relay open" and "relay attach", and for "relay version"
// ends well.
type Binary struct {
	OS, Arch string // as Go names them
	SHA256   string // of the program, in lower-case hex

	// WriteGzip writes the program, compressed, and tells its progress in bytes
	// of some measure of its own. The error of a write is among its errors.
	WriteGzip func(w io.Writer, progress func(done, total int64)) error
}

// fileBinary is the program in a file, which may be replaced in place
// but not changed: the far end finds that what comes is not what was announced.
func fileBinary(goos, arch, path string) (Binary, error) {
	f, err := os.Open(path)
	if err != nil {
		return Binary{}, err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return Binary{}, err
	}
	write := func(w io.Writer, progress func(done, total int64)) error { return writeGzip(w, path, progress) }
	return Binary{goos, arch, hex.EncodeToString(hash.Sum(nil)), write}, nil
}

func writeGzip(w io.Writer, path string, progress func(done, total int64)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	// The compressor writes some 200 bytes at a time, each a packet of the hop.
	b := bufio.NewWriterSize(w, 32<<10)
	z := gzip.NewWriter(b)
	if err := copyTold(z, f, info.Size(), progress); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return b.Flush()
}

// copyTold copies total bytes and tells how far it is.
func copyTold(w io.Writer, r io.Reader, total int64, progress func(done, total int64)) error {
	progress(0, total)
	buf := make([]byte, 32<<10)
	for done := int64(0); done < total; {
		n, err := io.ReadAtLeast(r, buf[:min(total-done, int64(len(buf)))], 1)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // io.EOF is w's own: its reader has gone
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		done += int64(n)
		progress(done, total)
	}
	return nil
}
