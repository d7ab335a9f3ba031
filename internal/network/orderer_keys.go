package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// nextFolder holds the TLS certificate and the key that an ordering node is about to have, below
// keysFolder.
const nextFolder = "next"

// rekeyed adds to the nodes that are rolled those of the others whose keys are to be replaced: they start
// with the keys that they have, because channels are told of new ones while the node runs.
func (w *clusterWork) rekeyed(atOnce, rolled []Handle) ([]Handle, error) {
	for _, o := range atOnce {
		spec := w.spec.Nodes[o.Name]
		switch {
		case len(spec.Revoke) == 0 || slices.Contains(rolled, o):
		case spec.Stopped:
			return nil, fmt.Errorf("the keys of %s cannot be replaced while its cluster is stopped: the channels know it by them, and cannot be told", o)
		default:
			rolled = append(rolled, o)
		}
	}
	return rolled, nil
}

// keepingKey is the cluster with one node whose keys are not replaced.
func (s ClusterSpec) keepingKey(name string) ClusterSpec {
	node := s.Nodes[name]
	node.Revoke = nil
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

// announceKey tells channels the TLS key that a node is about to have, when its own is to be replaced.
// Channels know consenters by that key. Where the others can order without the node, they take it up
// with its new key after it has restarted; where they cannot, nobody could then any more.
func (w *clusterWork) announceKey(ctx context.Context, o Handle) error {
	spec := w.spec.Nodes[o.Name]
	if len(spec.Revoke) == 0 {
		return nil
	}
	have, err := w.nodeFiles(ctx, o)
	if err != nil || !spec.distrusts(have.keys[tlsFolder+"/cert.pem"]) {
		return err
	}
	return w.onChannels(ctx, w.all(), func(ctx context.Context, k *channelWork, c channelView) error {
		if s := c.strength(); c.summary == nil || s.consenters-1 >= quorumOf(s.consenters, s.bft) {
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
		case len(c.summary.Consenters) == 1:
			return &LoneConsenterError{Node: o, Channel: c.channel.Name}
		}
		next, err := k.stageKey(ctx, spec)
		if err != nil || sameKey(listed.ServerTLSCertPEM, next) { // an attempt that was cut short told it
			return err
		}
		own.ClientTLSCertPEM, own.ServerTLSCertPEM = next, next
		return k.update(ctx, func(config *configtx.Config) error {
			return config.ReplaceConsenter(configtx.Address{Host: listed.Host, Port: listed.Port}, own)
		})
	})
}

// nextKey gives the certificate of the key that a node is about to have; empty when there is none.
func (f *Fabric) nextKey(ctx context.Context, o Handle) (string, error) {
	files, err := f.engine.GetFiles(ctx, o.Object(), keysFolder+"/"+nextFolder)
	if errors.Is(err, engine.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("unable to read the next key of %s: %w", o, err)
	}
	have := map[string][]byte{}
	for _, file := range files {
		have[file.Name] = file.Content
	}
	if next := staged(have); next != nil {
		return string(next.CertificatePEM()), nil
	}
	return "", nil
}

// finishKeys has nodes take the keys that channels were told of by an attempt which was cut short, also
// when nobody asks for new ones any more: they are known by these keys alone.
func (w *clusterWork) finishKeys(ctx context.Context) error {
	w.spec.Nodes = maps.Clone(w.spec.Nodes)
	for _, o := range w.spec.handles() {
		spec := w.spec.Nodes[o.Name]
		if !spec.Existing || spec.Stopped || len(spec.Revoke) > 0 {
			continue
		}
		next, err := w.nextKey(ctx, o)
		if err != nil {
			return err
		}
		if next == "" {
			continue
		}
		views, err := w.survey(ctx, w.spec.handles())
		if err != nil {
			return err
		}
		if slices.ContainsFunc(views, func(c channelView) bool { return c.lists(next) }) {
			has, err := w.listenerOf(ctx, o)
			if err != nil {
				return err
			}
			spec.Revoke = []string{string(has)}
			w.spec.Nodes[o.Name] = spec
		}
	}
	return nil
}

// lists tells whether a channel has a consenter with the key of a certificate.
func (c channelView) lists(certPEM string) bool {
	return c.summary != nil && slices.ContainsFunc(c.summary.Consenters, func(entry configtx.ConsenterSummary) bool {
		return sameKey(entry.ServerTLSCertPEM, certPEM)
	})
}

// stageKey has the TLS CA certify a new key of a node, and keeps both on the node's volume until it
// restarts with them. An attempt that was cut short may have done so.
func (w *clusterWork) stageKey(ctx context.Context, spec OrdererSpec) (string, error) {
	h := spec.Handle
	defer w.locks.lock("next key of " + h.Object())()
	if next, err := w.nextKey(ctx, h); next != "" || err != nil {
		return next, err
	}
	_, from, err := w.issuer(ctx, h.Organization())
	if err != nil {
		return "", err
	}
	enrolled, err := w.enrollNew(ctx, from, tlsCA, ca.Registration{ID: h.Name, Type: "orderer", MaxEnrollments: ca.Unlimited},
		ca.EnrollRequest{Profile: ca.ProfileTLS, Hosts: spec.hosts(h)})
	if err != nil {
		return "", err
	}
	next := map[string][]byte{}
	if err := putPair(next, nextFolder, enrolled.KeyPair); err != nil {
		return "", err
	}
	var put []engine.File
	for name, content := range next {
		put = append(put, engine.File{Name: "keys/" + name, Content: content, Mode: 0o600, UID: nodeUID, GID: nodeUID})
	}
	if err := w.engine.PutFiles(ctx, h.Object(), nodeRoot, put); err != nil {
		return "", fmt.Errorf("unable to keep the next key of %s: %w", h, err)
	}
	return string(enrolled.CertificatePEM()), nil
}

// staged gives the key pair that a node is about to have; nil when there is none.
func staged(have map[string][]byte) *certificate.KeyPair {
	pair, err := certificate.ParseKeyPair(have[nextFolder+"/cert.pem"], have[nextFolder+"/key.pem"])
	if err != nil {
		return nil
	}
	return pair
}
