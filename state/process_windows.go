package state

import (
	"strconv"

	"golang.org/x/sys/windows"
)

// started reads the time of creation. A process that has ended can still be
// opened as long as somebody has it open, but waiting for it is over at once.
func started(pid int) (start string, runs bool) {
	p, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return "", false
	}
	defer windows.CloseHandle(p)
	var created, exited, kernel, user windows.Filetime
	if windows.GetProcessTimes(p, &created, &exited, &kernel, &user) != nil {
		return "", false
	}
	event, err := windows.WaitForSingleObject(p, 0)
	return strconv.FormatInt(created.Nanoseconds(), 10), err == nil && event == uint32(windows.WAIT_TIMEOUT)
}

// boot is not needed: a time of creation is one of the calendar.
func boot() string { return "" }
