package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// AdoptChaincode makes the records of the containers that somebody else runs a chaincode in, by the
// names of the peers that they serve. Nothing of them changes. A release takes their place with a package
// and servers of ours; until then they run the packages that the organizations approved.
func (f *Fabric) AdoptChaincode(ctx context.Context, network, channel, name string, containers map[string]string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("unable to adopt chaincode %s: %w", name, fmt.Errorf(format, args...))
	}
	h, err := f.findChannel(ctx, network, channel)
	if err != nil {
		return fail("%w", err)
	}
	record, err := f.channelRecord(ctx, h)
	if err != nil {
		return fail("%w", err)
	}
	members, err := f.members(ctx, record)
	if err != nil {
		return fail("%w", err)
	}
	state, err := f.ReadChaincode(ctx, ChaincodeHandle(h, name))
	if err != nil {
		return fail("%w", err)
	}
	if state.Committed == nil {
		return fail("channel %s has none of that name: %w", channel, ErrNotFound)
	}
	spec, left := ChaincodeSpec{Channel: h, Name: name}, maps.Clone(containers)
	var records []engine.NodeSpec
	for _, m := range members {
		approved, err := approvedPackage(ctx, channel, name, m, state.Committed.Sequence)
		if err != nil {
			return fail("unable to read which package %s approved: %w", m.handle.MSPID, err)
		}
		for _, p := range m.peers {
			container := left[p.handle.Name]
			delete(left, p.handle.Name)
			settings, err := f.engine.Settings(ctx, container)
			if container == "" || errors.Is(err, engine.ErrNotFound) {
				return fail("no container %q serves %s: name one for each peer of the channel", container, p.handle)
			}
			if err != nil {
				return fail("%w", err)
			}
			runs := cmp.Or(settings.Env["CHAINCODE_ID"], settings.Env["CORE_CHAINCODE_ID_NAME"])
			if runs == "" || runs != approved {
				return fail("container %s runs the package %q, by its CHAINCODE_ID, and %s approved %q", container, runs, m.handle.MSPID, approved)
			}
			if spec.Label == "" {
				spec.Label, _, _ = strings.Cut(runs, ":")
				spec.Server.NodeOptions = NodeOptions{Image: settings.Image, Limits: settings.Limits}
			}
			node := serverNode(spec, p.handle, settings.ImageID, runs)
			node.Hostname, node.Network, node.Command, node.Env, node.Tmpfs, node.Restart = "", "", nil, nil, nil, false
			node.Adopts = &engine.Adoption{Node: container}
			node.Labels[engine.LabelSpecHash] = specHash(node, nil)
			records = append(records, node)
		}
	}
	if len(left) > 0 {
		return fail("no peer of channel %s is named %s", channel, strings.Join(slices.Sorted(maps.Keys(left)), ", "))
	}
	for _, node := range records {
		if err := f.engine.CreateNode(ctx, node); err != nil {
			return fail("%w", err)
		}
	}
	return nil
}

// mixed tells whether a chaincode runs in containers that somebody else made, beside which others of ours
// may run for organizations that joined later: then each organization has a package of its own.
func mixed(servers []engine.Node) bool {
	return slices.ContainsFunc(servers, func(s engine.Node) bool { return s.Adopted != "" })
}

// readMixed completes the state of a chaincode of which each organization has its own package.
func (f *Fabric) readMixed(ctx context.Context, channel, name string, state *ChaincodeState, members []member, servers []engine.Node, reports map[Handle]chaincodeReport) error {
	for _, m := range members {
		wait := waiting(m.handles(), servers)
		if !m.peers[0].running() {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, answerTimeout)
		approved, err := approvedPackage(ask, channel, name, m, state.Committed.Sequence)
		cancel()
		if err != nil {
			state.Status = engine.Absent
			continue
		}
		state.PackageID = cmp.Or(state.PackageID, approved)
		for _, p := range m.peers {
			if wait[p.handle] {
				continue
			}
			has, err := f.hasPackage(ctx, p, reports, approved)
			if err != nil {
				return err
			}
			if !has {
				state.Status = engine.Absent
			}
		}
	}
	return nil
}

// waiting gives the peers that a chaincode serves from its next release on: they came to an organization
// whose other peers are served by containers of somebody else, and its package runs in those only.
func waiting(peers []Handle, servers []engine.Node) map[Handle]bool {
	beside, elsewhere := map[string]engine.Node{}, map[string]bool{}
	for _, s := range servers {
		for _, name := range strings.Split(s.Labels[labelPeer], ",") {
			beside[name] = s
		}
	}
	for _, p := range peers {
		if beside[p.Name].Adopted != "" {
			elsewhere[p.MSPID] = true
		}
	}
	out := map[Handle]bool{}
	for _, p := range peers {
		if _, served := beside[p.Name]; !served && elsewhere[p.MSPID] {
			out[p] = true
		}
	}
	return out
}

// unserved leaves out the peers that have a server beside them or wait for the next release, and the
// members without any other.
func unserved(members []member, servers []engine.Node) []member {
	var out []member
	for _, m := range members {
		wait := waiting(m.handles(), servers)
		m.peers = slices.DeleteFunc(slices.Clone(m.peers), func(p memberPeer) bool {
			return wait[p.handle] || slices.ContainsFunc(servers, func(s engine.Node) bool { return servesPeer(s.Labels, p.handle) })
		})
		if len(m.peers) > 0 {
			out = append(out, m)
		}
	}
	return out
}

// handles are those of the member's peers.
func (m member) handles() []Handle {
	out := make([]Handle, len(m.peers))
	for i, p := range m.peers {
		out[i] = p.handle
	}
	return out
}

// StartAdoptedChaincode starts those of a chaincode's servers that do not run, whoever made them.
func (f *Fabric) StartAdoptedChaincode(ctx context.Context, h Handle) (ChaincodeState, error) {
	channel, name := chaincodeOf(h)
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return ChaincodeState{}, err
	}
	servers, err := f.serversOf(ctx, channel, name)
	if err != nil {
		return ChaincodeState{}, err
	}
	for _, p := range peersOf(record.Organizations) {
		if !slices.ContainsFunc(servers, func(s engine.Node) bool { return servesPeer(s.Labels, p) }) {
			return ChaincodeState{}, fmt.Errorf("the container of chaincode %s beside %s is gone, which this provider did not make, or the record of it; next: start the container with what made it, or take the chaincode out of the state and import it again, or change version, for servers that the provider makes", name, p)
		}
	}
	for _, s := range servers {
		if err := f.engine.StartNode(ctx, s.Name); err != nil {
			return ChaincodeState{}, err
		}
	}
	return f.ReadChaincode(ctx, h)
}
