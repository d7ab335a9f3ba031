package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestPeakMemory(t *testing.T) {
	for _, tt := range []struct {
		name, status string
		want         int64
	}{
		{"told", "Name:\tx\nVmPeak:\t  100 kB\nVmHWM:\t   43008 kB\nVmRSS:\t   1 kB\n", 43008 << 10},
		{"not told", "Name:\tx\n", 0},
		{"damaged", "VmHWM:\tmany kB\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := peakMemory([]byte(tt.status)); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// TestWatchFindsProviders starts a process of the provider's name, and another one.
func TestWatchFindsProviders(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("there is no sleep here")
	}
	if sleep, err = filepath.EvalSymlinks(sleep); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	named := filepath.Join(t.TempDir(), providerBinary)
	if err := os.WriteFile(named, content, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{named, sleep} {
		command := exec.CommandContext(t.Context(), program, "60")
		if err := command.Start(); err != nil {
			t.Skipf("no copy of sleep can run here: %v", err)
		}
		defer func() {
			_ = command.Process.Kill()
			_ = command.Wait()
		}()
	}
	if len(children(os.Getpid())) == 0 {
		t.Skip("this system does not tell the children of a process")
	}
	w := watchProviders(os.Getpid())
	peak, processes := w.stop()
	if processes != 1 || peak <= 0 {
		t.Errorf("found %d providers with a peak of %d bytes, want one", processes, peak)
	}
}
