//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

func ownProcessGroup(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
