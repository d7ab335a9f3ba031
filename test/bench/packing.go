package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
)

// packingReport is what packages of source take: the ID, which a plan needs, and the package, which an
// apply needs.
type packingReport struct {
	ID      []float64 `json:"id"`
	Package []float64 `json:"package"`
	// AllocatedBytes are all that the ID allocated, which is more than it ever held.
	AllocatedBytes []int64 `json:"allocated_bytes"`
}

// The source that is packed, and what is promised of it.
const (
	packingBytes    = 50 << 20
	packingFiles    = 800
	packingSeconds  = 2.0
	packingMegabyte = 16.0
)

// runPacking packs a folder of source.
func (b *bench) runPacking() (err error) {
	folder, err := os.MkdirTemp("", b.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	content := bytes.Repeat([]byte("package lib // as much of it as source has\n"), packingBytes/packingFiles/43+1)[:packingBytes/packingFiles]
	for i := range packingFiles {
		in := filepath.Join(folder, "vendor", fmt.Sprintf("lib%d", i%100))
		if err := os.MkdirAll(in, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(in, fmt.Sprintf("f%d.go", i)), content, 0o600); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"go.mod": "module example.com/large\n", "main.go": "package main\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	source := lifecycle.Source{Label: "large_1", Type: lifecycle.TypeGolang, Folder: folder}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	if _, err := source.ID(); err != nil {
		return err
	}
	b.report.Packing.ID = append(b.report.Packing.ID, time.Since(began).Seconds())
	runtime.ReadMemStats(&after)
	b.report.Packing.AllocatedBytes = append(b.report.Packing.AllocatedBytes, int64(after.TotalAlloc-before.TotalAlloc))
	began = time.Now()
	if _, err := source.Package(); err != nil {
		return err
	}
	b.report.Packing.Package = append(b.report.Packing.Package, time.Since(began).Seconds())
	return nil
}

func (r *report) packingTargets() []target {
	if len(r.Packing.ID) == 0 {
		return nil
	}
	id, pack := summarize(r.Packing.ID), summarize(r.Packing.Package)
	most := 0.0
	for _, b := range r.Packing.AllocatedBytes {
		most = max(most, float64(b)/megabyte)
	}
	return []target{
		{"packing 50 MB of source", pack.format(2) + " s", "at most 2 s", pack.Median <= packingSeconds, true},
		{"its package ID alone, for a plan", id.format(2) + " s", "at most 2 s", id.Median <= packingSeconds, true},
		{"memory allocated for that ID", fmt.Sprintf("%.1f MB", most), "at most 16 MB", most <= packingMegabyte, true},
	}
}
