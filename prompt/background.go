package prompt

// CanAskInBackground says whether a question that nobody waits for can be put at
// all: whether askpass is allowed, and there is one.
func CanAskInBackground() bool {
	may, _ := askpassUse()
	return may && haveAskpass()
}
