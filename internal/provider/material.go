package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// materialAttribute names the crypto material of a node that no CA here certifies.
func materialAttribute(what string) schema.StringAttribute {
	return schema.StringAttribute{
		Optional: true,
		MarkdownDescription: "Local directory with the crypto material of the " + what + ", for an organization that has no `fabric_ca` but is given by its `certificates`. It is laid out as cryptogen does it: an MSP folder in `msp`, and `server.crt` with `server.key` in `tls`. " +
			"What is there is copied to the " + what + "'s own volume, and the keys go nowhere else. A plan reads it, and fails when a key belongs to another certificate, when a certificate is none of the organization or has expired, or when the TLS certificate lacks the host name, the advertised address or one of `sans`. " +
			"Other certificates in it are taken by the next apply, with a restart; nothing here renews them. A plan where the directory is not at hand leaves the " + what + " as it is.",
	}
}

// given is a node whose certificates come from a directory, as it is planned.
type given struct {
	plan certificateHolder
	// prior is nil for a new node.
	prior             certificateHolder
	directory, before types.String
	handle            types.Object
	options           network.NodeOptions
	// renamed tells that the hosts of its certificates change.
	renamed bool
	// keeps tells that it cannot get other keys: channels know it by them.
	keeps bool
	at    path.Path
}

// givenOptions are what the certificates of a node have to do with, as far as it is known.
func givenOptions(advertised types.String, sans types.List, directory types.String, exists bool) network.NodeOptions {
	options := network.NodeOptions{AdvertisedAddress: advertised.ValueString(), MaterialDirectory: directory.ValueString(), Existing: exists}
	for _, element := range sans.Elements() {
		if host, ok := element.(types.String); ok && !host.IsUnknown() {
			options.Hosts = append(options.Hosts, host.ValueString())
		}
	}
	return options
}

// planGiven plans the certificates of such a node: those that are in the directory.
func (c *configured) planGiven(ctx context.Context, g given, diags *diag.Diagnostics) {
	planNewCertificates(g.plan)
	nothingFallsDue(g.plan)
	if version := g.plan.renewal().KeyVersion; !version.IsUnknown() && version.ValueInt64() > 1 {
		diags.AddAttributeError(g.at.AtName("key_version"), "Its keys are given", "No CA here makes keys for this node. Put others into its material_directory.")
		return
	}
	if g.directory.IsUnknown() || handleMember(g.handle, "domain").IsUnknown() || handleMember(g.handle, "name").IsUnknown() {
		return
	}
	held := g.plan.held()
	h := handleFrom(ctx, g.handle, diags)
	found, err := network.ReadMaterial(ctx, g.directory.ValueString(), g.options.MaterialHosts(h))
	switch {
	case err == nil:
		for name, text := range found.Certificates() {
			*held[name] = types.StringValue(text)
		}
	case g.prior != nil && g.directory.Equal(g.before) && errors.Is(err, network.ErrNotFound): // it was read once; a plan elsewhere need not have it
		for name, value := range g.prior.held() {
			*held[name] = *value
		}
		return
	default:
		diags.AddAttributeError(g.at.AtName("material_directory"), "No crypto material of the node there", sentence(err))
		return
	}
	c.checkGiven(ctx, g, h, diags)
	if g.prior == nil {
		return
	}
	was := g.prior.held()
	if !g.renamed && held[network.CertificateTLS].Equal(*was[network.CertificateTLS]) && was[network.CertificateOperations].ValueString() != "" {
		*held[network.CertificateOperations] = *was[network.CertificateOperations]
	}
	if !g.keeps {
		return
	}
	for name := range found.Certificates() {
		if !sameKey(was[name].ValueString(), held[name].ValueString()) {
			diags.AddAttributeError(g.at.AtName("material_directory"), "Another key", fmt.Sprintf("The channels know the node by its keys, and the %s certificate in the directory is for another one. Give the new node another name, or put the old key back.", name))
		}
	}
}

// checkGiven asks whether the organization stands behind the material, as far as it is there.
func (c *configured) checkGiven(ctx context.Context, g given, h network.Handle, diags *diag.Diagnostics) {
	for _, member := range []string{"network", "owner_id", "msp_id"} {
		if handleMember(g.handle, member).IsUnknown() {
			return
		}
	}
	f, err := c.session.open()
	if err != nil {
		return // others say so
	}
	ctx, cancel := context.WithTimeout(ctx, planPatience)
	defer cancel()
	if err := f.CheckMaterial(ctx, h, g.options); err != nil {
		diags.AddAttributeError(g.at.AtName("material_directory"), "Not the crypto material of this node", sentence(err))
	}
}

// sameKey tells whether two certificates are of the same key; of one that is not there it is not known.
func sameKey(a, b string) bool {
	if strings.TrimSpace(a) == "" {
		return true
	}
	one, err := certificate.ParseCertificates([]byte(a))
	if err != nil {
		return true
	}
	other, err := certificate.ParseCertificates([]byte(b))
	return err == nil && certificate.PublicKeyFingerprint(one[0]) == certificate.PublicKeyFingerprint(other[0])
}
