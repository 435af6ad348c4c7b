package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// identity tells apart the machines that one name may lead to, and the boots of
// one machine. Each part is a short hash, or empty where it is not known.
type identity struct{ machine, boot string }

// identify makes an identity of a host's name, its /etc/machine-id, and an ID of
// its boot. Both the name and the machine ID count: several may share a name, and
// hosts cloned from one image may have one machine ID. The file is empty, or holds
// "uninitialized", in many a container (machine-id(5)).
func identify(name, machineID, bootID string) identity {
	machineID, bootID = strings.TrimSpace(machineID), strings.TrimSpace(bootID)
	if machineID == "uninitialized" {
		machineID = ""
	}
	i := identity{machine: short("machine " + machineID + " " + name)}
	if bootID != "" {
		// Containers of one kernel share its boot.
		i.boot = short("boot " + machineID + " " + bootID)
	}
	return i
}

func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

func (i identity) String() string { return i.machine + "-" + i.boot }

func parseIdentity(text string) identity {
	machine, boot, _ := strings.Cut(text, "-")
	return identity{machine, boot}
}

// isOther says that two are known and not of one machine. One that was started
// again has its machine in common, and one that was renamed its boot. One that was
// both is another.
func (i identity) isOther(than identity) bool {
	return i.machine != "" && than.machine != "" && i.machine != than.machine &&
		(i.boot == "" || i.boot != than.boot)
}
