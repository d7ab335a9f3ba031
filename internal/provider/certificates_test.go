package provider

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// leaf makes a certificate that ends at an instant after a life.
func leaf(t *testing.T, ends time.Time, life time.Duration) string {
	t.Helper()
	begins := ends.Add(-life)
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "root", Validity: 100 * 365 * day, Now: begins})
	if err != nil {
		t.Fatal(err)
	}
	key, err := certificate.GenerateKey(certificate.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certificate.Issue(root, certificate.LeafRequest{CommonName: "peer0.org1", Server: true, PublicKey: key.Public(), Now: begins, Validity: life})
	if err != nil {
		t.Fatal(err)
	}
	return string(certificate.EncodeCertificate(cert))
}

func completePeer() values {
	return values{"organization": handleOf("organization", "Org1MSP", "Org1MSP"), "name": "peer0.org1", "sans": []any{"a.example.net"}}
}

func completeCluster() values {
	return values{"organization": handleOf("organization", "OrdererMSP", "OrdererMSP"), "nodes": values{
		"orderer0": values{}, "orderer1": values{"key_version": 1},
	}}
}

// text gives a planned text; an unknown one is "?", none is "".
func text(t *testing.T, v tftypes.Value) string {
	t.Helper()
	if !v.IsKnown() {
		return "?"
	}
	if v.IsNull() {
		return ""
	}
	var s string
	if err := v.As(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// The plan of a renewal follows from what Read stored: nothing in it looks at the clock.
func TestRenewalIsPlannedFromTheState(t *testing.T) {
	certs := []string{"enrollment_certificate", "tls_certificate", "operations_certificate"}
	for name, c := range map[string]struct {
		kind    string
		config  values
		state   values // of what Read stored
		change  values
		unknown string
		says    []string
	}{
		"nothing due":        {"fabric_peer", completePeer(), nil, nil, "", []string{"before"}},
		"one certificate":    {"fabric_peer", completePeer(), values{"renewal_due": []any{"tls"}}, nil, "tls_certificate renewal_at", []string{"new certificate for the keys that are there: tls (valid until 2031-", "peer peer0.org1 restarts"}},
		"all of them":        {"fabric_peer", completePeer(), values{"renewal_due": []any{"enrollment", "operations", "tls"}}, nil, "enrollment_certificate tls_certificate operations_certificate renewal_at", []string{"new certificates", "enrollment (valid until", ", operations (valid until", ", tls (valid until"}},
		"a name more":        {"fabric_peer", completePeer(), nil, values{"sans": []any{"b.example.net"}}, "tls_certificate operations_certificate renewal_at", []string{"before"}},
		"new keys":           {"fabric_peer", completePeer(), nil, values{"key_version": 2}, "enrollment_certificate tls_certificate operations_certificate renewal_at", []string{"new keys and certificates, because key_version is 2", "revoked", "peer peer0.org1 restarts"}},
		"another window":     {"fabric_peer", completePeer(), nil, values{"renew_before": "24h"}, "renewal_at", []string{"before"}},
		"another image":      {"fabric_peer", completePeer(), nil, values{"image": "peer:other"}, "image_id", []string{"before"}},
		"a listener":         {"fabric_ca", completeCA(), values{"renewal_due": []any{"listener"}}, nil, "listener_certificate renewal_at", []string{"listener (valid until 2031-", "CA ca.org1 restarts"}},
		"an admin":           {"fabric_organization", completeOrganization(), values{"renewal_due": []any{"admin"}}, nil, "admin_certificate renewal_at", []string{"admin (valid until 2031-", "nothing restarts"}},
		"an admin's key":     {"fabric_organization", completeOrganization(), nil, values{"key_version": 7}, "admin_certificate renewal_at", []string{"key_version is 7", "nothing restarts"}},
		"an identity":        {"fabric_identity", completeIdentity(), values{"renewal_due": []any{"enrollment"}}, nil, "certificate not_after renewal_at", []string{"enrollment (valid until 2031-"}},
		"a key that is gone": {"fabric_identity", completeIdentity(), values{"certificate": ""}, nil, "certificate not_after renewal_at", []string{"before"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlanner(t, values{"fabric_version": "3.1.1"})
			planned, diags := p.plan(c.kind, nil, c.config)
			clean(t, diags)
			if got := text(t, planned["last_renewal"]); got != "" {
				t.Errorf("of a new one, last_renewal is %q", got)
			}
			prior := p.state(planned)
			pem := leaf(t, time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC), 365*day)
			for _, attribute := range append(certs, "listener_certificate", "admin_certificate", "certificate") {
				if _, has := prior[attribute]; has {
					prior[attribute] = pem
				}
			}
			maps.Copy(prior, values{"last_renewal": "before", "renewal_at": "2031-04-01T00:00:00Z"})
			for i, port := range []string{"port", "operations_port"} {
				if _, has := prior[port]; has {
					prior[port] = 17000 + i
				}
			}
			maps.Copy(prior, c.state)
			p = newPlanner(t, values{"fabric_version": "3.1.1"})
			planned, diags = p.plan(c.kind, prior, with(c.config, c.change))
			clean(t, diags)
			for attribute, v := range planned {
				if want := strings.Contains(" "+c.unknown+" ", " "+attribute+" "); v.IsFullyKnown() == want {
					t.Errorf("%s is known: %t", attribute, !want)
				}
			}
			said := text(t, planned["last_renewal"])
			for _, words := range c.says {
				if !strings.Contains(said, words) {
					t.Errorf("last_renewal is %q and does not say %q", said, words)
				}
			}
			var due []tftypes.Value
			if err := planned["renewal_due"].As(&due); err != nil || len(due) > 0 {
				t.Errorf("after the apply %d are due, %v", len(due), err)
			}
		})
	}
}

// Each node of a cluster falls due by itself.
func TestRenewalOfOneNode(t *testing.T) {
	p := newPlanner(t, values{"fabric_version": "3.1.1"})
	planned, diags := p.plan("fabric_orderer_cluster", nil, completeCluster())
	for _, d := range diags {
		if d.Severity == tfprotov6.DiagnosticSeverityError {
			t.Fatalf("%s: %s", d.Summary, d.Detail)
		}
	}
	nodes := func(planned map[string]tftypes.Value) map[string]map[string]tftypes.Value {
		t.Helper()
		elements := map[string]tftypes.Value{}
		if err := planned["nodes"].As(&elements); err != nil {
			t.Fatal(err)
		}
		out := map[string]map[string]tftypes.Value{}
		for name, v := range elements {
			members := map[string]tftypes.Value{}
			if err := v.As(&members); err != nil {
				t.Fatal(err)
			}
			out[name] = members
		}
		return out
	}
	pem := leaf(t, time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC), 365*day)
	state := p.state(planned)
	stored := values{}
	for name, members := range nodes(planned) {
		node := p.state(members)
		maps.Copy(node, values{"enrollment_certificate": pem, "tls_certificate": pem, "operations_certificate": pem, "renewal_at": "2031-04-01T00:00:00Z"})
		if name == "orderer0" {
			node["renewal_due"] = []any{"enrollment", "operations", "tls"}
		}
		stored[name] = node
	}
	state["nodes"] = stored
	p = newPlanner(t, values{"fabric_version": "3.1.1"})
	proposed := with(completeCluster(), values{"nodes": stored})
	planned, _ = p.plan("fabric_orderer_cluster", state, proposed)
	after := nodes(planned)
	if text(t, after["orderer0"]["tls_certificate"]) != "?" || !strings.Contains(text(t, after["orderer0"]["last_renewal"]), "ordering node orderer0 restarts") {
		t.Errorf("orderer0 is planned with %q", text(t, after["orderer0"]["last_renewal"]))
	}
	for attribute, v := range after["orderer1"] {
		if !v.IsFullyKnown() && attribute != "port" && attribute != "admin_port" && attribute != "operations_port" {
			t.Errorf("%s of orderer1 is not known any more", attribute)
		}
	}
}

// What an update is told to replace is what the plan does not know.
func TestRenewalOfAnUpdate(t *testing.T) {
	prior := unknownCertificates()
	prior.KeyVersion, prior.EnrollmentCertificate, prior.TLSCertificate, prior.OperationsCertificate = types.Int64Value(1), types.StringValue("E"), types.StringValue("T"), types.StringNull()
	plan := prior
	if got := renewalOf(&plan, &prior); got.Retire != nil || got.Revoke != nil || got.KeyVersion != 0 {
		t.Errorf("nothing is due: %+v", got)
	}
	plan.TLSCertificate, plan.OperationsCertificate = types.StringUnknown(), types.StringUnknown()
	if got := renewalOf(&plan, &prior); len(got.Retire) != 1 || got.Retire[0] != "T" || got.Revoke != nil {
		t.Errorf("TLS is due: %+v", got)
	}
	plan.KeyVersion = types.Int64Value(2)
	if got := renewalOf(&plan, &prior); len(got.Revoke) != 1 || got.Revoke[0] != "T" || got.Retire != nil || got.KeyVersion != 2 {
		t.Errorf("a new key: %+v", got)
	}
}

// What was planned to stay is told as it was planned, whatever an apply found.
func TestCertificatesAsPlanned(t *testing.T) {
	h := network.Handle{Kind: network.KindPeer, Network: "dev", Name: "peer0.org1", MSPID: "Org1MSP"}
	ends := time.Now().Add(200 * day)
	found := map[string]string{network.CertificateEnrollment: leaf(t, ends, 365*day), network.CertificateTLS: leaf(t, ends, 365*day), network.CertificateOperations: leaf(t, ends, 365*day)}
	m := unknownCertificates()
	kept := leaf(t, ends.Add(-100*day), 365*day)
	m.EnrollmentCertificate = types.StringValue(kept)
	takeCertificates(&m, found, h, defaultRenewBefore())
	if m.EnrollmentCertificate.ValueString() != kept || m.TLSCertificate.ValueString() != found[network.CertificateTLS] || len(m.RenewalDue.Elements()) != 0 {
		t.Errorf("told are %+v", m)
	}
	at, err := time.Parse(time.RFC3339, m.RenewalAt.ValueString())
	if left := ends.Add(-100 * day).Sub(at); err != nil || left > 45*day || left < 22*day {
		t.Errorf("due %s before the end of the first, %v", left, err)
	}
	m.EnrollmentCertificate = types.StringValue(leaf(t, time.Now().Add(day), 365*day))
	readCertificates(t.Context(), &m, h, defaultRenewBefore(), []string{"tls"}, nil)
	if got := dueNames(m.RenewalDue); strings.Join(got, " ") != "enrollment tls" {
		t.Errorf("due are %v", got)
	}
}
