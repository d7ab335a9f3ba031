package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/canary"
	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/prometheus"
)

// A canary is a roll of servers that stops after some of them, and goes on only when these do as well as
// the others. What was there is kept until the last server is replaced, so that all can be put back.
// docs/decisions/0026 says why it counts what it counts.

// Canary says how a roll of servers is watched.
type Canary struct {
	// Steps are after how many servers the roll stops.
	Steps  []canary.Step
	Limits canary.Limits
	// Duration is how long it is watched at least after each step, Deadline how long at most.
	Duration, Deadline time.Duration
	// Queries are put to peers with new servers and to others.
	Queries []CanaryQuery
	// Prometheus is asked for a value that Limits bound; nil when nobody is.
	Prometheus *PrometheusQuery
}

// CanaryQuery is a call of the chaincode that changes nothing.
type CanaryQuery struct {
	// Identity signs it: an identity, or an organization, whose admin it then is. The zero value is the admin of
	// the peer's organization.
	Identity  Handle
	Function  string
	Arguments []string
}

func (q CanaryQuery) String() string {
	return fmt.Sprintf("%s(%s)", q.Function, strings.Join(q.Arguments, ", "))
}

// PrometheusQuery is an expression that a Prometheus server evaluates.
type PrometheusQuery struct {
	Address, Expression string
	// Roots are the certificates, in PEM, of who vouches for the server; empty for those of the system.
	Roots string
	// Token is a bearer token; empty for none.
	Token string
}

// CanaryError tells why a roll did not go on.
type CanaryError struct {
	// New is how many servers were new ones, of Servers that were to be replaced.
	New, Servers int
	// Watched is how long they were watched.
	Watched time.Duration
	Verdict canary.Verdict
}

func (e *CanaryError) Error() string {
	if len(e.Verdict.Breaches) == 0 {
		return fmt.Sprintf("what is known of %d of %d servers after %s is too little to go on with them: %s", e.New, e.Servers, e.Watched, strings.Join(e.Verdict.Lacks, "; "))
	}
	breaches := make([]string, len(e.Verdict.Breaches))
	for i, b := range e.Verdict.Breaches {
		breaches[i] = b.String()
	}
	return fmt.Sprintf("%d of %d servers do worse than the others, after %s: %s", e.New, e.Servers, e.Watched, strings.Join(breaches, "; "))
}

// trial is a roll that is watched. A server is named by the first of the peers that it serves.
type trial struct {
	*roll
	*Canary
	// called are the servers of the roll whose peers run: nobody calls the others.
	called []Handle
	// identities are those that sign the queries, nil where the admin of an organization does.
	identities []*msp.Identity
	prometheus *prometheus.Client
	// fresh are the servers that were replaced.
	fresh []Handle
}

// inSteps replaces the servers of the roll in steps, and goes on after each when the new ones do as well as
// the others. Or else all are put back. What an apply left that was killed begins anew.
func (r *roll) inSteps(ctx context.Context) error {
	if err := r.putBackTogether(ctx); err != nil {
		return err
	}
	t, err := r.newTrial(ctx)
	if err != nil {
		return fmt.Errorf("unable to begin the canary of chaincode %s, no server was touched: %w", r.spec.Name, err)
	}
	if err := t.run(ctx); err != nil {
		return t.abort(ctx, err)
	}
	return r.settle(ctx, r.peers...)
}

// run replaces the servers, and fails when they are to be put back.
func (t *trial) run(ctx context.Context) error {
	for _, size := range canary.Sizes(t.Steps, len(t.called)) {
		if err := t.widen(ctx, t.called[:size]); err != nil {
			return err
		}
		if len(t.others()) == 0 { // that was the last step
			break
		}
		if err := t.watch(ctx); err != nil {
			return err
		}
	}
	if err := t.widen(ctx, t.called); err != nil {
		return err
	}
	return t.widen(ctx, t.peers)
}

// newTrial makes sure, before a server is touched, that there will be something to judge by.
func (r *roll) newTrial(ctx context.Context) (*trial, error) {
	t := &trial{roll: r, Canary: r.spec.Canary}
	for _, p := range r.peers {
		if len(r.servedWith(p)) > 0 {
			t.called = append(t.called, p)
		}
	}
	if err := t.requireOthers(); err != nil {
		return nil, err
	}
	var jobs together
	for _, p := range t.peersThat(func(Handle) bool { return true }) {
		jobs.do(func() error {
			_, err := t.counters(ctx, p)
			return err
		})
	}
	if err := jobs.wait(); err != nil {
		return nil, err
	}
	for i, q := range t.Queries {
		var identity *msp.Identity
		if q.Identity != (Handle{}) {
			var err error
			if identity, err = r.fabric.identity(ctx, q.Identity); err != nil {
				return nil, err
			}
		}
		t.identities = append(t.identities, identity)
		first := t.servedBy(t.called[0])[0]
		if _, err := t.ask(ctx, i, first, first.handle.MSPID); err != nil {
			return nil, fmt.Errorf("the query %s gives no result before anything is changed: %w", q, err)
		}
	}
	if t.Prometheus != nil {
		t.prometheus = t.Prometheus.client()
	}
	return t, nil
}

// requireOthers fails when the first step leaves nothing to compare new servers with.
func (t *trial) requireOthers() error {
	if len(t.called) == 0 {
		return errors.New("no peer runs beside a server that is to be replaced, so that nobody calls it")
	}
	first := t.called[:canary.Sizes(t.Steps, len(t.called))[0]]
	if others := t.peersThat(func(p Handle) bool { return !t.oneOf(first, p) }); len(others) == 0 {
		return fmt.Errorf("it compares new servers with others, and the first step replaces all that serve peers which run (%d)", len(first))
	}
	return nil
}

// client asks the server that is meant, within the time of any answer.
func (p *PrometheusQuery) client() *prometheus.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	if p.Roots != "" {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(p.Roots))
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	return &prometheus.Client{Address: p.Address, Token: p.Token, HTTP: &http.Client{Transport: transport, Timeout: answerTimeout}}
}

// peersThat are the peers that run and are wanted.
func (t *trial) peersThat(wanted func(Handle) bool) []memberPeer {
	var out []memberPeer
	for _, m := range membersWith(t.members, wanted) {
		out = append(out, m.peers...)
	}
	return out
}

// oneOf tells whether a peer is served by one of some servers.
func (t *trial) oneOf(servers []Handle, p Handle) bool {
	return slices.ContainsFunc(servers, func(of Handle) bool { return server(t.spec, of) == server(t.spec, p) })
}

// servedBy are the peers that run and are served by a server.
func (t *trial) servedBy(of Handle) []memberPeer {
	return t.peersThat(func(p Handle) bool { return t.oneOf([]Handle{of}, p) })
}

// others are the peers that run and have no new server.
func (t *trial) others() []memberPeer {
	return t.peersThat(func(p Handle) bool { return !t.oneOf(t.fresh, p) })
}

// widen replaces those of some servers that were not yet.
func (t *trial) widen(ctx context.Context, servers []Handle) error {
	for _, p := range servers {
		if slices.Contains(t.fresh, p) {
			continue
		}
		t.fresh = append(t.fresh, p)
		if err := t.replaceBeside(ctx, p); err != nil {
			return err
		}
		t.fabric.log.InfoContext(ctx, "canary: a server is replaced", "chaincode", t.spec.Name, "peer", p.Name, "new", len(t.fresh), "of", len(t.peers))
	}
	return nil
}

// abort puts all servers back, and says what came of it. The log is that of the last new server.
func (t *trial) abort(ctx context.Context, cause error) error {
	failed := &NodeError{Cause: cause}
	if len(t.fresh) > 0 {
		_ = errors.As(t.fabric.nodeError(ctx, server(t.spec, t.fresh[len(t.fresh)-1]), "replace", cause), &failed)
	}
	next := "mend what changed in server, or raise the limit in canary, and apply again"
	judged := new(CanaryError)
	switch {
	case errors.As(cause, &judged) && len(judged.Verdict.Breaches) == 0:
		next = "see that clients call the chaincode through these peers while it is watched, or set another minimum_calls or deadline in canary, and apply again"
	case ctx.Err() != nil:
		next = "apply again"
	}
	t.fabric.log.WarnContext(ctx, "canary: the servers are put back", "chaincode", t.spec.Name, "servers", len(t.fresh), "cause", cause.Error())
	done := fmt.Sprintf("%d of %d servers had been replaced and were put back as they were before", len(t.fresh), len(t.peers))
	if err := t.putBackTogether(ctx); err != nil {
		done = fmt.Sprintf("%d of %d servers had been replaced, and not all could be put back (%v)", len(t.fresh), len(t.peers), err)
	}
	return &NodeError{Action: fmt.Sprintf("replace the servers of chaincode %s in steps", t.spec.Name), Cause: failed.Cause, Logs: failed.Logs, Next: done + "; " + next}
}

// putBackTogether takes all servers back that were set aside, at once.
func (r *roll) putBackTogether(ctx context.Context) error {
	var jobs together
	for _, p := range r.peers {
		jobs.do(func() error { return r.putBack(ctx, p) })
	}
	return jobs.wait()
}

// The pace of a watch.
const (
	roundsOfWatch = 10
	shortestRound = 100 * time.Millisecond
	longestRound  = 10 * time.Second
)

// watch looks at the new servers and the others for as long as it must, and fails with *CanaryError unless
// they do as well. Calls are counted in rounds, between which queries are put: those do not count.
func (t *trial) watch(ctx context.Context) error {
	var (
		seen  = canary.Observation{New: map[string]canary.Figures{}, Restarts: map[string]int{}}
		begun = time.Now()
		round = min(max(t.Duration/roundsOfWatch, shortestRound), longestRound)
	)
	for _, of := range t.fresh {
		served := t.servedBy(of)
		for _, p := range served {
			seen.New[p.Name] = canary.Figures{}
		}
		for _, q := range t.Queries {
			seen.Comparisons = append(seen.Comparisons, canary.Comparison{Query: q.String(), Peer: served[0].Name, Other: t.counterpart(of).Name})
		}
	}
	for {
		if err := t.count(ctx, &seen, round); err != nil {
			return err
		}
		t.inspect(ctx, &seen)
		t.compare(ctx, &seen)
		t.measure(ctx, &seen)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		verdict, watched := t.Limits.Judge(seen), time.Since(begun)
		calls, failures := 0, 0
		for _, figures := range seen.New {
			calls, failures = calls+figures.Calls(), failures+figures.Failures()
		}
		t.fabric.log.InfoContext(ctx, "canary: watching", "chaincode", t.spec.Name, "for", watched.Round(time.Second).String(), "new", len(t.fresh), "of", len(t.peers),
			"calls", calls, "failures", failures, "others_calls", seen.Others.Calls(), "breaches", len(verdict.Breaches), "lacks", strings.Join(verdict.Lacks, "; "))
		if verdict.Passes() && watched >= t.Duration {
			return nil
		}
		if len(verdict.Breaches) > 0 || watched >= t.Deadline {
			return &CanaryError{New: len(t.fresh), Servers: len(t.peers), Watched: watched.Round(time.Second), Verdict: verdict}
		}
	}
}

// count adds what peers count in a round. One that does not tell its figures counts for nothing.
func (t *trial) count(ctx context.Context, seen *canary.Observation, round time.Duration) error {
	before := t.readAll(ctx)
	if err := pause(ctx, round); err != nil {
		return err
	}
	for name, now := range t.readAll(ctx) {
		then, ok := before[name]
		if !ok {
			continue
		}
		if figures, isNew := seen.New[name]; isNew {
			seen.New[name] = figures.Add(now.Since(then))
		} else {
			seen.Others = seen.Others.Add(now.Since(then))
		}
	}
	return nil
}

// readAll reads the counters of all peers that tell them, by name.
func (t *trial) readAll(ctx context.Context) map[string]canary.Counters {
	var (
		mu    sync.Mutex
		found = map[string]canary.Counters{}
		reads sync.WaitGroup
	)
	for _, p := range t.peersThat(func(Handle) bool { return true }) {
		reads.Go(func() {
			counters, err := t.counters(ctx, p)
			if err != nil {
				t.fabric.log.WarnContext(ctx, "canary: no figures of a peer", "peer", p.Name, "error", err.Error())
				return
			}
			mu.Lock()
			defer mu.Unlock()
			found[p.Name] = counters
		})
	}
	reads.Wait()
	return found
}

// counters reads what a peer has counted.
func (t *trial) counters(ctx context.Context, p memberPeer) (canary.Counters, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	client, err := t.fabric.operationsOf(ctx, p.handle, peerOperationsPort)
	if err != nil {
		return canary.Counters{}, err
	}
	metrics, err := client.Metrics(ctx)
	if err != nil {
		return canary.Counters{}, fmt.Errorf("%s tells no figures: %w", p.handle, err)
	}
	return canary.Read(metrics, t.spec.Channel.Name, t.spec.Name), nil
}

// inspect looks at the containers of the new servers.
func (t *trial) inspect(ctx context.Context, seen *canary.Observation) {
	seen.Down = nil
	for _, p := range t.fresh {
		n, err := t.fabric.engine.Node(ctx, server(t.spec, p).Object())
		if err == nil {
			seen.Restarts[p.Name] = n.Restarts
		}
		if err == nil && n.Status != engine.Running || errors.Is(err, engine.ErrNotFound) {
			seen.Down = append(seen.Down, p.Name)
		}
	}
}

// counterpart is the peer whose answers those through a new server are compared with: one of the same
// organization if there is one, which has the same private data.
func (t *trial) counterpart(of Handle) memberPeer {
	others := t.others()
	if i := slices.IndexFunc(others, func(other memberPeer) bool { return other.handle.MSPID == of.MSPID }); i >= 0 {
		return others[i]
	}
	return others[0]
}

// compare puts the queries to a peer of each new server and to its counterpart.
func (t *trial) compare(ctx context.Context, seen *canary.Observation) {
	var comparisons sync.WaitGroup
	for i, server := range t.fresh {
		for q := range t.Queries {
			comparisons.Go(func() {
				of := &seen.Comparisons[i*len(t.Queries)+q]
				difference, err := t.difference(ctx, q, t.servedBy(server)[0], t.counterpart(server))
				switch {
				case err != nil:
					of.Problem = err.Error()
				case difference != "":
					of.Difference = difference
				default:
					of.Equal++
				}
			})
		}
	}
	comparisons.Wait()
}

// What keeps two answers from being compared.
var (
	errHeights     = errors.New("the peers were not at the same height")
	errUnconfirmed = errors.New("the peers gave different results, and not for long enough to tell")
)

// How long two peers may take to be compared, and how long their answers must differ: a peer tells a height a
// moment before its state has it.
const (
	comparisonTime   = 10 * time.Second
	confirmationTime = time.Second
)

// difference says how the answers of two peers to a query differ that are at the same height; empty when they
// do not.
func (t *trial) difference(ctx context.Context, query int, fresh, other memberPeer) (difference string, err error) {
	ctx, cancel := context.WithTimeout(ctx, comparisonTime)
	defer cancel()
	var since time.Time
	err = poll(ctx, func(ctx context.Context) error {
		difference, err = t.compareOnce(ctx, query, fresh, other)
		switch {
		case err != nil:
			return err
		case difference == "":
			return nil
		case since.IsZero():
			since = time.Now()
		}
		if time.Since(since) < confirmationTime {
			return errUnconfirmed
		}
		return nil
	})
	return difference, err
}

// compareOnce compares two answers that were given at one height. That both refuse is no result.
func (t *trial) compareOnce(ctx context.Context, query int, fresh, other memberPeer) (difference string, err error) {
	as := fresh.handle.MSPID
	before, err := t.height(ctx, fresh, other)
	if err != nil {
		return "", err
	}
	here, failedHere := t.ask(ctx, query, fresh, as)
	there, failedThere := t.ask(ctx, query, other, as)
	if after, err := t.height(ctx, fresh, other); err != nil || after != before {
		return "", errors.Join(errHeights, err)
	}
	switch {
	case failedHere == nil && failedThere == nil:
		return differs(here, there), nil
	case refused(failedHere) && failedThere == nil:
		return fmt.Sprintf("the first refuses it (%v), the second answers", failedHere), nil
	case refused(failedThere) && failedHere == nil:
		return fmt.Sprintf("the first answers, the second refuses it (%v)", failedThere), nil
	default:
		return "", errors.Join(failedHere, failedThere)
	}
}

// refused tells whether a chaincode itself refused a query.
func refused(err error) bool {
	refusal := new(endorser.RefusedError)
	return errors.As(err, &refusal) && refusal.Answered
}

// differs says how two results differ, without saying what they are.
func differs(a, b []byte) string {
	if bytes.Equal(a, b) {
		return ""
	}
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	return fmt.Sprintf("they have %d and %d bytes, and differ from byte %d on", len(a), len(b), at+1)
}

// height gives the height that both peers are at.
func (t *trial) height(ctx context.Context, a, b memberPeer) (uint64, error) {
	var heights [2]uint64
	for i, p := range []memberPeer{a, b} {
		info, err := endorser.ChainInfo(ctx, p.Peer, t.admin(p.handle.MSPID), t.spec.Channel.Name)
		if err != nil {
			return 0, err
		}
		heights[i] = info.GetHeight()
	}
	if heights[0] != heights[1] {
		return 0, errHeights
	}
	return heights[0], nil
}

// admin is that of an organization of the roll.
func (t *trial) admin(mspID string) *msp.Identity {
	for _, m := range t.members {
		if m.handle.MSPID == mspID {
			return m.admin
		}
	}
	return nil
}

// ask puts a query to a peer, signed by whom it names, or else by the admin of an organization.
func (t *trial) ask(ctx context.Context, query int, p memberPeer, as string) ([]byte, error) {
	identity, q := t.identities[query], t.Queries[query]
	if identity == nil {
		identity = t.admin(as)
	}
	proposal, err := endorser.NewProposal(identity, endorser.Invocation{
		Channel: t.spec.Channel.Name, Chaincode: t.spec.Name, Args: Call{Function: q.Function, Arguments: q.Arguments}.arguments(),
	})
	if err != nil {
		return nil, err
	}
	return endorser.Evaluate(ctx, proposal, p.Peer)
}

// measure asks Prometheus.
func (t *trial) measure(ctx context.Context, seen *canary.Observation) {
	if t.prometheus == nil {
		return
	}
	seen.Value = &canary.Value{Query: t.Prometheus.Expression}
	number, err := t.prometheus.Value(ctx, t.Prometheus.Expression)
	if seen.Value.Number = number; err != nil {
		seen.Value.Problem = err.Error()
	}
}
