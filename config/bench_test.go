package config

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkResolve takes one host out of configurations of some sizes.
func BenchmarkResolve(b *testing.B) {
	var hosts strings.Builder
	for i := range 400 {
		fmt.Fprintf(&hosts, "Host web%d web%d.example.org\n    HostName 192.0.2.%d\n    User deploy\n    Port %d\n"+
			"    IdentityFile ~/.ssh/id_%d\n    ProxyJump gate\n\n", i, i, i%256, 2200+i, i)
	}
	for _, bb := range []struct{ name, text string }{
		{"empty", ""},
		{"one host", "Host web399\n    User deploy\n    Port 2200\n"},
		{"400 hosts", hosts.String()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			q := Query{Host: "web399", File: b.TempDir() + "/config"}
			write(b, q.File, bb.text)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Resolve(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
