//go:build !linux && !darwin && !freebsd

package relay

import "runtime"

const unsupported = "no relay runs on " + runtime.GOOS

func (p *program) bridge(bool) int { mark("error", unsupported); return 1 }

func (p *program) daemon() int { mark("error", unsupported); return 1 }
