package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// lookEvery is how often the processes are looked at. The system keeps the peak of each, so only a
// process that lives for less is missed.
const lookEvery = 20 * time.Millisecond

// providerWatch follows the provider processes that a Terraform process starts.
type providerWatch struct {
	ended, done chan struct{}
	peaks       map[int]int64
}

func watchProviders(terraform int) *providerWatch {
	w := &providerWatch{ended: make(chan struct{}), done: make(chan struct{}), peaks: map[int]int64{}}
	go func() {
		defer close(w.done)
		pace := time.NewTicker(lookEvery)
		defer pace.Stop()
		for {
			w.look(terraform)
			select {
			case <-w.ended:
				return
			case <-pace.C:
			}
		}
	}()
	return w
}

func (w *providerWatch) look(terraform int) {
	for _, pid := range children(terraform) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil || filepath.Base(exe) != providerBinary {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // gone since
		}
		w.peaks[pid] = max(w.peaks[pid], peakMemory(status))
	}
}

// stop gives the largest peak in bytes, and how many processes there were.
func (w *providerWatch) stop() (peak int64, processes int) {
	close(w.ended)
	<-w.done
	for _, p := range w.peaks {
		peak = max(peak, p)
	}
	return peak, len(w.peaks)
}

// children gives the processes that a process started, where the system tells them (Linux).
func children(pid int) []int {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	var out []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}

// peakMemory reads the peak of resident memory from /proc/PID/status, in bytes.
func peakMemory(status []byte) int64 {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		value, found := strings.CutPrefix(lines.Text(), "VmHWM:")
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
		if err != nil {
			return 0
		}
		return kib << 10
	}
	return 0
}
