package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
)

// A roll replaces servers that serve, under the definition in force: one after the other. The one that was
// there is set aside, under another name, and goes on serving until the new one answers; then it is stopped,
// so that peers connect to the new one. It is removed when the new one has served a call, and until then it
// can be put back as it was, with its image, its environment and all else.

// asideSuffix is added to the name of a server that is set aside.
const asideSuffix = ".before"

// aside is the name of the server of this handle while it is set aside.
func aside(server Handle) string { return server.Object() + asideSuffix }

// isAside tells whether a container is a server that was set aside.
func isAside(n engine.Node) bool { return n.Name == aside(handleOf(n.Labels)) }

// serverGrace is how long the calls of a server that is replaced may take to end.
const serverGrace = 5 * time.Second

// roll replaces servers of a chaincode.
type roll struct {
	fabric             *Fabric
	spec               ChaincodeSpec
	imageID, packageID string
	// members are the organizations with their peers that run, by which servers are called.
	members []member
	// peers are those whose server is to be replaced, in the order of their organizations and names; of those
	// that share one, the first.
	peers []Handle
	// outgoing are the servers whose work goes over to others, in the order of their names: they were of one
	// peer each and are to be of an organization, or the other way round.
	outgoing []engine.Node
	// replaced is how many were.
	replaced int
}

// planRoll finds the servers that run the package of the definition in force, but otherwise than is wanted.
// What an apply left that was killed during a roll is brought to where a roll can begin. Servers of a package
// that is not in force yet serve nobody, and are not rolled.
func (f *Fabric) planRoll(ctx context.Context, spec ChaincodeSpec, members []member, rest []Handle, imageID, packageID string) (*roll, error) {
	r := &roll{fabric: f, spec: spec, imageID: imageID, packageID: packageID, members: members}
	if !spec.served() {
		return r, nil
	}
	there, err := f.allServersOf(ctx, spec.Channel, spec.Name)
	if err != nil {
		return nil, err
	}
	there = slices.DeleteFunc(there, func(s engine.Node) bool { return isRecord(s) || s.Labels[labelPackage] != packageID })
	if len(there) == 0 {
		return r, nil
	}
	if reach, err := callsReach(ctx, spec, members[0], packageID); err != nil || !reach {
		return r, err
	}
	wanted := map[string]bool{}
	for _, site := range spec.sites(append(peersIn(members), rest...)) {
		name := server(spec, site[0]).Name
		wanted[name] = true
		if !slices.ContainsFunc(there, func(s engine.Node) bool { return s.Labels[engine.LabelName] == name }) {
			continue
		}
		replaced, err := r.resume(ctx, site[0])
		if err != nil {
			return nil, err
		}
		if replaced {
			r.peers = append(r.peers, site[0])
		}
	}
	for _, s := range there {
		if !wanted[s.Labels[engine.LabelName]] && s.Adopted == "" && !isAside(s) {
			r.outgoing = append(r.outgoing, s)
		}
	}
	slices.SortStableFunc(r.outgoing, func(a, b engine.Node) int { return strings.Compare(a.Name, b.Name) })
	return r, nil
}

// callsReach tells whether a package is that of the definition in force, as an organization approved it.
func callsReach(ctx context.Context, spec ChaincodeSpec, m member, packageID string) (bool, error) {
	committed, err := lifecycle.QueryCommitted(ctx, m.peers[0].Peer, m.admin, spec.Channel.Name, spec.Name)
	if errors.Is(err, lifecycle.ErrNotCommitted) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	approved, err := approvedPackage(ctx, spec.Channel.Name, spec.Name, m, committed.Sequence)
	if errors.As(err, new(*endorser.RefusedError)) || errors.Is(err, lifecycle.ErrNotApproved) {
		return false, nil
	}
	return approved == packageID, err
}

// resume tells whether the server beside a peer is to be replaced. One that another apply had begun to
// replace by something else is put back, as long as it runs, or else forgotten.
func (r *roll) resume(ctx context.Context, p Handle) (bool, error) {
	f, h := r.fabric, server(r.spec, p)
	have, err := f.reclaim(ctx, h)
	if errors.Is(err, engine.ErrNotFound) {
		if err := f.engine.RenameNode(ctx, aside(h), h.Object(), h.Owner); err == nil {
			return r.resume(ctx, p)
		} else if !errors.Is(err, engine.ErrNotFound) {
			return false, err
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	node := serverNode(r.spec, p, r.imageID, r.packageID)
	keep, err := f.keepServer(ctx, h, node)
	if err != nil {
		return false, err
	}
	before, err := f.engine.Node(ctx, aside(h))
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return !keep && have.Status == engine.Running && have.Labels[labelPackage] == r.packageID && have.Adopted == "", nil
	case err != nil:
		return false, err
	case keep:
		return true, nil // it goes on from there
	case before.Status == engine.Running || r.spec.Canary != nil: // a canary begins with what was proved
		err = r.putBackBeside(ctx, p)
	default:
		err = f.engine.RemoveNode(ctx, aside(h), h.Owner)
	}
	if err != nil {
		return false, err
	}
	return r.resume(ctx, p)
}

// concerns tells whether the server of a peer is to be replaced.
func (r *roll) concerns(p Handle) bool {
	return slices.ContainsFunc(r.peers, func(of Handle) bool { return server(r.spec, of) == server(r.spec, p) })
}

// others leaves out the peers whose server is to be replaced, and the members without any other.
func (r *roll) others() []member {
	return membersWith(r.members, func(p Handle) bool { return !r.concerns(p) })
}

// membersWith gives the members with those of their peers that are wanted.
func membersWith(members []member, wanted func(Handle) bool) []member {
	var out []member
	for _, m := range members {
		m.peers = slices.DeleteFunc(slices.Clone(m.peers), func(p memberPeer) bool { return !wanted(p.handle) })
		if len(m.peers) > 0 {
			out = append(out, m)
		}
	}
	return out
}

// all replaces every server, each for good before the next is touched, and then has the others go over.
func (r *roll) all(ctx context.Context) error {
	if r.spec.Canary != nil && len(r.peers) > 0 {
		if err := r.inSteps(ctx); err != nil {
			return err
		}
		return r.handOver(ctx)
	}
	for _, p := range r.peers {
		if err := r.replace(ctx, p); err != nil {
			return err
		}
		if err := r.settle(ctx, p); err != nil {
			return err
		}
	}
	return r.handOver(ctx)
}

// handOver ends the servers whose work goes over to others, one after the other, as long as peers reach those:
// the names by which they are reached are the same.
func (r *roll) handOver(ctx context.Context) error {
	f := r.fabric
	for _, s := range r.outgoing {
		h := handleOf(s.Labels)
		if err := f.engine.StopNode(ctx, s.Name, serverGrace); err != nil {
			return err
		}
		served := membersWith(r.members, func(p Handle) bool { return servesPeer(s.Labels, p) })
		if err := r.awaitServed(ctx, served); err != nil {
			return errors.Join(err, r.takeBack(ctx, s, served))
		}
		if err := f.engine.RemoveNode(ctx, s.Name, h.Owner); err != nil {
			return err
		}
		if err := f.engine.RemoveVolume(ctx, h.Object(), h.Owner); err != nil {
			return err
		}
	}
	return nil
}

// takeBack starts a server again whose work could not go over.
func (r *roll) takeBack(ctx context.Context, s engine.Node, served []member) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if err := r.fabric.engine.StartNode(ctx, s.Name); err != nil || !r.spec.Server.MutualTLS {
		return err
	}
	return r.fabric.introduceTo(ctx, r.spec, handleOf(s.Labels), peersIn(served), r.packageID)
}

// replace replaces the servers beside peers, one after the other, and stops at the first that does not
// serve, which is put back. What was there is kept, stopped, until settle removes it or putBack takes it back.
func (r *roll) replace(ctx context.Context, peers ...Handle) error {
	for _, p := range peers {
		if err := r.replaceBeside(ctx, p); err != nil {
			return r.failure(ctx, p, err)
		}
		r.replaced++
	}
	return nil
}

// replaceBeside replaces the server beside a peer.
func (r *roll) replaceBeside(ctx context.Context, p Handle) error {
	f, h := r.fabric, server(r.spec, p)
	if _, err := f.engine.Node(ctx, aside(h)); errors.Is(err, engine.ErrNotFound) {
		if err := f.engine.RenameNode(ctx, h.Object(), aside(h), h.Owner); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	watch := f.watchNodes(ctx)
	return watch.end(func() error {
		ctx := watch.ctx
		if _, err := f.serve(ctx, watch, r.spec, p, r.imageID, r.packageID); err != nil {
			return err
		}
		if err := f.awaitServer(ctx, r.spec, p, r.packageID); err != nil {
			return err
		}
		if err := r.introduce(ctx, p); err != nil {
			return err
		}
		if err := f.engine.StopNode(ctx, aside(h), serverGrace); err != nil {
			return err
		}
		return r.awaitServed(ctx, r.servedWith(p))
	}())
}

// introduce has the peers of a server know its certificates, as far as they run.
func (r *roll) introduce(ctx context.Context, p Handle) error {
	if !r.spec.Server.MutualTLS {
		return nil
	}
	// installMissing tells the others when they start.
	return r.fabric.introduceTo(ctx, r.spec, server(r.spec, p), peersIn(r.servedWith(p)), r.packageID)
}

// servedWith gives the members with those of their peers that share the server of a peer.
func (r *roll) servedWith(p Handle) []member {
	return membersWith(r.members, func(other Handle) bool { return server(r.spec, other) == server(r.spec, p) })
}

// awaitServed waits until calls through peers have reached their server. They have none other by then, so that
// this is not waited for as long as the apply may take.
func (r *roll) awaitServed(ctx context.Context, by []member) error {
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	return r.fabric.awaitServed(ctx, r.spec, by, r.packageID)
}

// failure puts the server beside a peer back whose replacement failed, and says what to do next.
func (r *roll) failure(ctx context.Context, p Handle, cause error) error {
	h := server(r.spec, p)
	failed := &NodeError{}
	if !errors.As(r.fabric.nodeError(ctx, h, "reach", cause), &failed) {
		return cause
	}
	if len(failed.Logs) == 0 { // of one that has just ended, the engine may not have had them yet
		errors.As(r.fabric.nodeError(ctx, h, "reach", failed.Cause), &failed)
	}
	what := "it was put back as it was"
	if err := r.putBack(ctx, p); err != nil {
		what = err.Error()
	}
	next := fmt.Sprintf("%s; of %d servers to be replaced, %d were before it, and the others were not touched; mend what changed in server and apply again, or go back to what was",
		what, len(r.peers), r.replaced)
	return &NodeError{
		Action: fmt.Sprintf("replace the server of chaincode %s beside %s", r.spec.Name, p), Cause: failed.Cause, Logs: failed.Logs, Next: next,
	}
}

// putBack takes the servers beside peers back that replace has set aside, and waits until they serve again.
// It is done although the work around it was interrupted.
func (r *roll) putBack(ctx context.Context, peers ...Handle) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	var failed []error
	for _, p := range peers {
		if err := r.putBackBeside(ctx, p); err != nil {
			failed = append(failed, fmt.Errorf("unable to put back the server of chaincode %s beside %s: %w", r.spec.Name, p, err))
		}
	}
	return errors.Join(failed...)
}

// putBackBeside takes the server beside a peer back that was set aside, where one was.
func (r *roll) putBackBeside(ctx context.Context, p Handle) error {
	f, h := r.fabric, server(r.spec, p)
	before, err := f.engine.Node(ctx, aside(h))
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.engine.RemoveNode(ctx, h.Object(), h.Owner); err != nil {
		return err
	}
	if err := f.engine.RenameNode(ctx, aside(h), h.Object(), h.Owner); err != nil {
		return err
	}
	if r.spec.Server.MutualTLS { // it has no certificates any more but in its memory
		if err := f.furnishServer(ctx, r.spec, p, time.Now()); err != nil {
			return err
		}
		if err := f.engine.StopNode(ctx, h.Object(), serverGrace); err != nil {
			return err
		}
		before.Status = engine.Stopped
	}
	if before.Status == engine.Running {
		return nil // it was never stopped
	}
	if err := f.engine.StartNode(ctx, h.Object()); err != nil {
		return err
	}
	if err := f.awaitServer(ctx, r.spec, p, r.packageID); err != nil {
		return err
	}
	if err := r.introduce(ctx, p); err != nil {
		return err
	}
	return r.awaitServed(ctx, r.servedWith(p))
}

// settle removes what was set aside of the servers beside peers: the new ones stay.
func (r *roll) settle(ctx context.Context, peers ...Handle) error {
	for _, p := range peers {
		h := server(r.spec, p)
		if err := r.fabric.engine.RemoveNode(ctx, aside(h), h.Owner); err != nil {
			return err
		}
	}
	return nil
}
