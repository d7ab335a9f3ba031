//go:build linux

package kill

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/archive"
)

// killedBackups is how many backups TestLongKilledBackup has end in the middle.
const killedBackups = 6

// TestLongKilledBackup kills the provider in the middle of backups, at calls of the engine: while nodes are
// stopped, while they are read, when they are started. The next apply must have every node run again, with
// every volume, key and block, and take the backup; under the name of the archive there is a whole one at
// any time, or none.
func TestLongKilledBackup(t *testing.T) {
	if os.Getenv("TF_ACC") == "" || os.Getenv("FABRIC_LONG") == "" {
		t.Skip("TF_ACC=1 and FABRIC_LONG=1 make a network on a Docker engine, and kill its backups")
	}
	seed := number(t, "SWEEP_SEED", uint64(time.Now().UnixNano()))
	t.Logf("SWEEP_SEED=%d", seed)
	s := newFaulting(t, "acc-killed-backup", seed)
	s.only = regexp.MustCompile(`^engine.*: kill`)
	file := filepath.Join(s.workspace.dir, "network.backup")
	verify := func(t *testing.T, must bool) {
		t.Helper()
		_, _, err := archive.Verify(file, "canary-of-a-backup-9Zq4")
		if errors.Is(err, fs.ErrNotExist) && !must {
			return
		}
		if err != nil {
			t.Errorf("the archive is not whole: %v", err)
		}
	}
	s.between = func(t *testing.T) { verify(t, false) }
	if !t.Run("undisturbed", s.build) {
		return
	}
	var way [2]*direction
	measured := t.Run("backup, undisturbed", func(t *testing.T) {
		way = s.measure(t, change{forth: "take a backup", back: "forget it", variables: []string{"backup=" + file}})
	})
	for tried := 0; measured && tried < killedBackups; tried++ {
		point, left := s.next(way[0])
		if !left {
			break
		}
		if tried%2 == 0 { // one that is there already must stay until the next one is whole
			must(t, os.Remove(file))
		}
		measured = t.Run(point.String(), func(t *testing.T) {
			s.try(t, way[0], point)
			verify(t, true)
			if _, err := os.Stat(file + ".partial"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("half an archive is left: %v", err)
			}
			s.in(t).mustRun(way[1].command()...)
		})
	}
	if s.tried == 0 {
		t.Error("no backup was killed")
	}
}
