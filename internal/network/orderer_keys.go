package network

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// nextFolder holds the certificates and the keys that an ordering node is about to have, below keysFolder.
const nextFolder = "next"

// rekeyed adds to the nodes that are rolled those of the others that the channels are to know by something
// else: they start with what they have, because channels are told while the node runs.
func (w *clusterWork) rekeyed(atOnce, rolled []Handle) ([]Handle, error) {
	for _, o := range atOnce {
		spec := w.spec.Nodes[o.Name]
		known := len(spec.Revoke) > 0 || w.spec.bft() && len(spec.Retire) > 0
		switch {
		case !known || slices.Contains(rolled, o):
		case spec.Stopped:
			return nil, fmt.Errorf("the keys or certificates of %s cannot be replaced while its cluster is stopped: the channels know it by them, and cannot be told", o)
		default:
			rolled = append(rolled, o)
		}
	}
	return rolled, nil
}

// startingAsKnown is the cluster with one node that keeps what the channels know it by: its keys, and with
// SmartBFT its enrolment certificate too.
func (s ClusterSpec) startingAsKnown(name string) ClusterSpec {
	node := s.Nodes[name]
	node.Revoke = nil
	if s.bft() {
		node.Retire, node.Known = nil, true
	}
	s.Nodes = maps.Clone(s.Nodes)
	s.Nodes[name] = node
	return s
}

// LoneConsenterError tells that the TLS certificate of a channel's only consenter was to be replaced on
// the ledger. A Raft leader hands its office over before it orders that, and drops the update when there
// is nobody to take it (Fabric, orderer/consensus/etcdraft, checkForEvictionNCertRotation).
type LoneConsenterError struct {
	Node    Handle
	Channel string
}

func (e *LoneConsenterError) Error() string {
	return fmt.Sprintf("%s is the only consenter of channel %s, which cannot order a change of its own certificate: add two ordering nodes first, and take them away afterwards", e.Node, e.Channel)
}

// announce tells channels what a node that is about to be made anew will be known by.
//
// Raft knows consenters by their TLS keys. Where the others can order without the node, they take it up
// with its new key after it has restarted; where they cannot, nobody could then any more.
//
// SmartBFT knows them by the bytes of their enrolment certificates: a node that starts with another one
// than the ledger lists is a follower. One that runs goes on while the ledger lists a certificate for the
// key that it has, so a renewal is on the ledger first and costs the restart alone.
func (w *clusterWork) announce(ctx context.Context, o Handle) error {
	n, err := w.clusterNode(w.spec, o.Name)
	if err != nil {
		return err
	}
	have, err := w.nodeFiles(ctx, o)
	if err != nil {
		return err
	}
	if _, _, next := newest(have.keys, tlsFile, tlsKeyFile); next == nil && !w.spec.bft() && !n.options.distrusts(have.keys[tlsFile]) {
		return nil // nor is there a key that an attempt which was cut short left to be announced
	}
	return w.onChannels(ctx, w.all(), func(ctx context.Context, k *channelWork, c channelView) error {
		s := c.strength()
		if c.summary == nil || !s.bft && s.consenters-1 >= quorumOf(s.consenters, s.bft) {
			return nil
		}
		own, err := k.consenter(ctx, o)
		if err != nil {
			return err
		}
		listed := entryOf(*c.summary, own)
		switch {
		case listed == nil:
			return nil
		case len(c.summary.Consenters) == 1 && !s.bft:
			return &LoneConsenterError{Node: o, Channel: c.channel.Name}
		}
		next, err := k.stage(ctx, n, own)
		if err != nil || configtx.SameConsenter(*listed, next) {
			return err
		}
		if s.bft { // with a new key the node is out from here on until it has restarted
			if _, err := k.awaitSpared(ctx, k.all(), o, map[string]bool{}); err != nil {
				return err
			}
		}
		return k.update(ctx, func(config *configtx.Config) error {
			return config.ReplaceConsenter(configtx.Address{Host: listed.Host, Port: listed.Port}, next)
		})
	})
}

// stage gets the certificates that a node is to have, with new keys where those are to be replaced, and
// keeps them on its volume until it restarts with them. It gives the consenter that the node will be. An
// attempt that was cut short may have staged some; what stays needs no staging.
func (w *clusterWork) stage(ctx context.Context, n *node, own configtx.Consenter) (configtx.Consenter, error) {
	defer w.locks.lock("next keys of " + n.handle.Object())()
	fail := func(err error) (configtx.Consenter, error) {
		return own, fmt.Errorf("unable to keep the next certificates of %s: %w", n.handle, err)
	}
	have, err := w.nodeFiles(ctx, n.handle)
	if err != nil {
		return fail(err)
	}
	material, err := n.material(ctx, have.keys)
	if err != nil {
		return fail(err)
	}
	var put []engine.File
	for _, pair := range [][2]string{{enrollmentFile, enrollmentKeyFile}, {tlsFile, tlsKeyFile}} {
		if len(material[pair[0]]) == 0 {
			continue
		}
		for _, file := range pair {
			content := material[file]
			if len(content) == 0 { // the key stays
				content = have.keys[file]
			}
			have.keys[file] = content
			put = append(put, engine.File{Name: "keys/" + nextFolder + "/" + file, Content: content, Mode: 0o600, UID: nodeUID, GID: nodeUID})
		}
	}
	if len(put) > 0 {
		if err := w.engine.PutFiles(ctx, n.handle.Object(), nodeRoot, put); err != nil {
			return fail(err)
		}
	}
	return consenterAt(configtx.Address{Host: own.Host, Port: own.Port}, own.MSPID, have.keys[tlsFile], have.keys[enrollmentFile]), nil
}

// nextKey gives the certificate of the TLS key that a node is about to have; empty when there is none.
func (f *Fabric) nextKey(ctx context.Context, o Handle) (string, error) {
	have, err := f.nodeFiles(ctx, o)
	if err != nil {
		return "", err
	}
	if certPEM, _, next := newest(have.keys, tlsFile, tlsKeyFile); next != nil {
		return string(firstBlock(certPEM)), nil
	}
	return "", nil
}

// lists tells whether a channel has a consenter with the key of a certificate.
func (c channelView) lists(certPEM string) bool {
	return c.summary != nil && slices.ContainsFunc(c.summary.Consenters, func(entry configtx.ConsenterSummary) bool {
		return sameKey(entry.ServerTLSCertPEM, certPEM)
	})
}

// listsAddress tells whether a channel has a consenter at an address.
func (c channelView) listsAddress(address string) bool {
	return c.summary != nil && slices.ContainsFunc(c.summary.Consenters, func(entry configtx.ConsenterSummary) bool {
		return addressOf(entry.Consenter) == address
	})
}
