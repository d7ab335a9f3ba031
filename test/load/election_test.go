package load

import (
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

func TestElection(t *testing.T) {
	for _, c := range []struct {
		timers configtx.RaftOptions
		want   Election
	}{
		{configtx.RaftOptions{TickInterval: 500 * time.Millisecond, ElectionTick: 10, HeartbeatTick: 1}, Election{5 * time.Second, 9500 * time.Millisecond}},
		{configtx.RaftOptions{TickInterval: 100 * time.Millisecond, ElectionTick: 10, HeartbeatTick: 1}, Election{time.Second, 1900 * time.Millisecond}},
	} {
		if got, err := election(c.timers); err != nil || got != c.want {
			t.Errorf("%+v: got %v, %v", c.timers, got, err)
		}
	}
	if _, err := election(configtx.RaftOptions{}); err == nil {
		t.Error("SmartBFT has the timers of Raft")
	}
}
