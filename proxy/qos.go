package proxy

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseQoS turns a word of IPQoS into the TOS byte, -1 for "none".
func ParseQoS(word string) (int, error) {
	word = strings.ToLower(word)
	switch word {
	case "none":
		return -1, nil
	case "ef":
		return 0xb8, nil
	case "va":
		return 0xb0, nil
	case "le":
		return 0x04, nil
	case "lowdelay":
		return 0x10, nil
	case "throughput":
		return 0x08, nil
	case "reliability":
		return 0x04, nil
	}
	if class, ok := strings.CutPrefix(word, "cs"); ok && len(class) == 1 && class[0] <= '7' && class[0] >= '0' {
		return int(class[0]-'0') << 5, nil
	}
	if af, ok := strings.CutPrefix(word, "af"); ok && len(af) == 2 && strings.ContainsRune("1234", rune(af[0])) && strings.ContainsRune("123", rune(af[1])) {
		return int(af[0]-'0')<<5 | int(af[1]-'0')<<3, nil
	}
	n, err := strconv.ParseUint(word, 0, 8)
	if err != nil {
		return 0, fmt.Errorf("bad IPQoS value %q", word)
	}
	return int(n), nil
}
