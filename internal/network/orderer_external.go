package network

import (
	"context"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// ExternalConsenter is an ordering node of a cluster that another state runs.
type ExternalConsenter struct {
	// Address is host:port, as the other ordering nodes reach it.
	Address configtx.Address `json:"address"`
	// TLSCertificate is its TLS certificate, in PEM.
	TLSCertificate string `json:"tls_certificate"`
	// Definition is that of its organization.
	Definition msp.Definition `json:"definition"`
	// Consenter tells that it is to be made one. Otherwise its organization alone is made known, so that
	// the node may fetch the channel, and whether it is a consenter is decided elsewhere.
	Consenter bool `json:"consenter"`
}

func (e ExternalConsenter) consenter() configtx.Consenter {
	certificate := string(firstBlock([]byte(e.TLSCertificate)))
	return configtx.Consenter{Host: e.Address.Host, Port: e.Address.Port, ClientTLSCertPEM: certificate, ServerTLSCertPEM: certificate}
}

// VerifyCertificate checks that the TLS roots of the organization vouch for the node at its address, as every
// config update of its channels will.
func (e ExternalConsenter) VerifyCertificate() error {
	var roots, intermediates [][]byte
	for _, text := range e.Definition.TLSRootCertificates {
		roots = append(roots, []byte(text))
	}
	for _, text := range e.Definition.TLSIntermediateCertificates {
		intermediates = append(intermediates, []byte(text))
	}
	for _, usage := range []certificate.Usage{certificate.UsageServer, certificate.UsageClient} {
		if err := certificate.VerifyChain(certificate.VerifyRequest{
			Leaf: []byte(e.TLSCertificate), Roots: roots, Intermediates: intermediates, Host: e.Address.Host, Usage: usage,
		}); err != nil {
			return err
		}
	}
	return nil
}

// admitExternal makes a node of others known to the channel. Nobody here can ask it how far it is, so it
// becomes a consenter only where the others have a quorum without it.
func (k *channelWork) admitExternal(ctx context.Context, e ExternalConsenter, name string) error {
	if err := k.introduce(ctx, e.Definition, k.spec.externalEndpoints(e.Definition.ID), true); err != nil || !e.Consenter {
		return err
	}
	summary, err := k.summary(ctx)
	if err != nil {
		return err
	}
	own := e.consenter()
	listed := entryOf(summary, own)
	if listed != nil && configtx.SameConsenter(*listed, own) {
		return nil
	}
	if listed == nil {
		step := "adding " + name + " before it is known to work"
		if err := k.awaitStrength(ctx, step, func(c channelView) error { return c.bearsMore(step, false) }); err != nil {
			return err
		}
	}
	return k.list(ctx, own)
}

// externalEndpoints gives the addresses of the nodes that an organization runs elsewhere.
func (s ClusterSpec) externalEndpoints(mspID string) []string {
	var out []string
	for _, e := range s.External {
		if e.Definition.ID == mspID {
			out = append(out, joinAddress(e.Address))
		}
	}
	slices.Sort(out)
	return out
}
