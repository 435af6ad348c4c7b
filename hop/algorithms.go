package hop

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// NoAlgorithmError says that of a configured list nothing is left that we can
// do ourselves.
type NoAlgorithmError struct {
	Keyword string
	List    []string
}

func (e *NoAlgorithmError) Error() string {
	return fmt.Sprintf("none of %s %s is supported", e.Keyword, strings.Join(e.List, ","))
}

// client makes the library's configuration of ours.
func (cfg *Config) client(ctx context.Context) (*ssh.ClientConfig, error) {
	supported, insecure := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	pick := func(keyword string, list, a, b []string) ([]string, error) {
		if list == nil {
			return a, nil
		}
		var out []string
		for _, name := range list {
			if slices.Contains(a, name) || slices.Contains(b, name) {
				out = append(out, name)
			}
		}
		if len(out) == 0 {
			return nil, &NoAlgorithmError{keyword, list}
		}
		return out, nil
	}
	c := &ssh.ClientConfig{User: cfg.Login.User, ClientVersion: "SSH-2.0-ssh-stay"}
	c.RekeyThreshold = cfg.RekeyBytes
	var err error
	if c.Ciphers, err = pick("Ciphers", cfg.Ciphers, supported.Ciphers, insecure.Ciphers); err != nil {
		return nil, err
	}
	if c.KeyExchanges, err = pick("KexAlgorithms", cfg.KexAlgorithms, supported.KeyExchanges, insecure.KeyExchanges); err != nil {
		return nil, err
	}
	if c.MACs, err = pick("MACs", cfg.MACs, supported.MACs, insecure.MACs); err != nil {
		return nil, err
	}
	hostKeys := cfg.HostKeyAlgorithms
	if hostKeys == nil {
		hostKeys = supported.HostKeys
	}
	if !cfg.KeepHostKeyOrder {
		if hostKeys, err = cfg.HostKeys.Order(ctx, hostKeys); err != nil {
			return nil, err
		}
	}
	c.HostKeyAlgorithms, err = pick("HostKeyAlgorithms", hostKeys, supported.HostKeys, insecure.HostKeys)
	return c, err
}
