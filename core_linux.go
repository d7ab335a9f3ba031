package main

import "syscall"

// leaveNoCore has the kernel not write down the memory of this process when it crashes: private keys pass
// through it. Under a limit of one byte it neither writes a file nor, as it would under zero, hands the core
// to a program that collects them.
func leaveNoCore() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		return err
	}
	limit.Max = min(limit.Max, 1)
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &limit)
}
