// Package canary judges whether new chaincode servers do as well as those that they are to replace. It is
// told what the peers beside them count and what their containers do, and asks nobody itself.
package canary

import (
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/operations"
)

// Counters are what a peer has counted of the calls of a chaincode since the peer started.
type Counters struct {
	// Succeeded and Failed are calls, Seconds is how long those that succeeded took together.
	Succeeded, Failed, Seconds float64
}

// Read finds them in a peer's metrics. Every call that a peer takes on, evaluated or endorsed, is in
// endorser_proposal_duration, which has the name of the chaincode, and success="false" also when its server
// cannot be reached or when it answers with a status from 500 on. endorser_endorsement_failures counts
// neither of these (core/endorser of Fabric 2.5 and 3.1). A peer that was never called has no counters.
func Read(metrics operations.Metrics, channel, chaincode string) Counters {
	of := func(name, success string) float64 {
		value, _ := metrics.Value("endorser_proposal_duration_"+name, map[string]string{"channel": channel, "chaincode": chaincode, "success": success})
		return value
	}
	return Counters{Succeeded: of("count", "true"), Failed: of("count", "false"), Seconds: of("sum", "true")}
}

// Since gives what was counted after an earlier reading. A peer that has started again in between counts
// from nothing: what it has counted since is all that is known.
func (c Counters) Since(before Counters) Figures {
	if c.Succeeded < before.Succeeded || c.Failed < before.Failed || c.Seconds < before.Seconds {
		before = Counters{}
	}
	return Figures{succeeded: c.Succeeded - before.Succeeded, failed: c.Failed - before.Failed, seconds: c.Seconds - before.Seconds}
}

// Figures are what became of calls in a stretch of time.
type Figures struct{ succeeded, failed, seconds float64 }

// Add gives the figures of both.
func (f Figures) Add(other Figures) Figures {
	return Figures{succeeded: f.succeeded + other.succeeded, failed: f.failed + other.failed, seconds: f.seconds + other.seconds}
}

// Calls is how many calls there were.
func (f Figures) Calls() int { return int(f.succeeded + f.failed) }

// Failures is how many of them failed.
func (f Figures) Failures() int { return int(f.failed) }

// Latency is how long a call took that did not fail, on average. Fabric's histogram has its buckets at 5, 10,
// 25 and more milliseconds, which is too coarse for quantiles of what usually takes two.
func (f Figures) Latency() time.Duration {
	if f.succeeded == 0 {
		return 0
	}
	return time.Duration(f.seconds / f.succeeded * float64(time.Second))
}

// failureRatio is the share of the calls that failed; none when there were none.
func (f Figures) failureRatio() float64 {
	if f.succeeded+f.failed == 0 {
		return 0
	}
	return f.failed / (f.succeeded + f.failed)
}
