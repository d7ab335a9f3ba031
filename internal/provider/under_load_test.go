package provider

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/test/load"
)

// underLoad is a load that goes on over the steps of a test.
type underLoad struct {
	t *testing.T
	// organizations are the MSP IDs whose peers are gateways; none takes all that the channel has.
	organizations []string
	network       string
	load          *load.Load
	// marks are what was done, and when it began.
	marks []mark
	// unfollow ends the look for gateways.
	unfollow func()
}

type mark struct {
	what  string
	begun time.Time
}

// busy has the channel of a configuration cut blocks for a load, and not for each transaction.
func busy(config string) string {
	return strings.Replace(config, "max_message_count   = 1", `batch_timeout       = "300ms"`, 1)
}

func (u *underLoad) start() {
	u.t.Helper()
	l, err := load.Start(u.t.Context(), load.Target{Network: u.network, Channel: "trade", Chaincode: "kv", Organizations: u.organizations})
	if err != nil {
		u.t.Fatal(err)
	}
	u.load = l
	u.follow()
}

// follow has the load look for its gateways again and again, as applications do that are told of new
// peers and of new TLS roots. Where none answers it goes on with those that it knows.
func (u *underLoad) follow() {
	ctx, cancel := context.WithCancel(u.t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		again := time.NewTicker(3 * time.Second)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-again.C:
				_ = u.load.Refresh(ctx)
			}
		}
	})
	u.unfollow = sync.OnceFunc(func() { cancel(); work.Wait() })
	u.t.Cleanup(u.unfollow)
}

// next begins a part of the report.
func (u *underLoad) next(what string) func() {
	return func() {
		if u.load == nil {
			u.start()
		}
		u.marks = append(u.marks, mark{what, time.Now()})
	}
}

// finish ends the load, and reports the gaps of each part beside the election bound.
func (u *underLoad) finish(*terraform.State) error {
	u.unfollow()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	bound, err := u.load.Election(ctx)
	if err != nil {
		return err
	}
	report, err := u.load.Finish(ctx)
	u.t.Logf("elections begin after %s to %s; under the whole load:\n%s", bound.Least, bound.Most, report)
	for i, m := range u.marks {
		end := report.Ended
		if i+1 < len(u.marks) {
			end = u.marks[i+1].begun
		}
		gaps := report.GapsBetween(m.begun, end)
		u.t.Logf("%s (%s): gaps between blocks: median %s, p95 %s, longest %s", m.what, end.Sub(m.begun).Round(time.Second),
			gaps.Median.Round(time.Millisecond), gaps.P95.Round(time.Millisecond), gaps.Longest.Round(time.Millisecond))
	}
	return err
}
