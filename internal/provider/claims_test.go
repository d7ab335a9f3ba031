package provider

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// planner speaks with the provider as Terraform does, over the protocol, and with no engine.
type planner struct {
	t       *testing.T
	server  tfprotov6.ProviderServer
	schemas map[string]*tfprotov6.Schema
	// private is the private state of what is planned.
	private []byte
	// replaces are the attributes for whose sake the last plan replaces.
	replaces []string
}

// unknown stands for a value that is not known during plan.
type unknown struct{}

type values map[string]any

func newPlanner(t *testing.T, provider values) *planner {
	t.Helper()
	server, err := factories["fabric"]()
	if err != nil {
		t.Fatal(err)
	}
	schema, err := server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	p := &planner{t: t, server: server, schemas: schema.ResourceSchemas}
	config := values{"docker_host": "unix:///nonexistent.sock"}
	maps.Copy(config, provider)
	resp, err := server.ConfigureProvider(t.Context(), &tfprotov6.ConfigureProviderRequest{
		TerraformVersion: "1.11.4", Config: p.dynamic(schema.Provider.ValueType(), config),
	})
	if err != nil || len(resp.Diagnostics) > 0 {
		t.Fatal(err, resp.Diagnostics)
	}
	return p
}

// value writes a plain value as one of the type; members that are not given are null.
func (p *planner) value(kind tftypes.Type, plain any) tftypes.Value {
	switch v := plain.(type) {
	case nil:
		return tftypes.NewValue(kind, nil)
	case unknown:
		return tftypes.NewValue(kind, tftypes.UnknownValue)
	case tftypes.Value:
		return v
	case values:
		if object, ok := kind.(tftypes.Object); ok {
			members := map[string]tftypes.Value{}
			for name, member := range object.AttributeTypes {
				members[name] = p.value(member, v[name])
			}
			for name := range v {
				if object.AttributeTypes[name] == nil {
					p.t.Fatalf("there is no attribute %s", name)
				}
			}
			return tftypes.NewValue(kind, members)
		}
		elements := map[string]tftypes.Value{}
		for name, element := range v {
			elements[name] = p.value(kind.(tftypes.Map).ElementType, element)
		}
		return tftypes.NewValue(kind, elements)
	case []any:
		element := tftypes.Type(tftypes.String)
		switch k := kind.(type) {
		case tftypes.List:
			element = k.ElementType
		case tftypes.Set:
			element = k.ElementType
		}
		list := make([]tftypes.Value, len(v))
		for i, e := range v {
			list[i] = p.value(element, e)
		}
		return tftypes.NewValue(kind, list)
	}
	return tftypes.NewValue(kind, plain)
}

func (p *planner) dynamic(kind tftypes.Type, plain any) *tfprotov6.DynamicValue {
	p.t.Helper()
	v, err := tfprotov6.NewDynamicValue(kind, p.value(kind, plain))
	if err != nil {
		p.t.Fatal(err)
	}
	return &v
}

// validate is what terraform validate does with one resource.
func (p *planner) validate(kind string, config values) []*tfprotov6.Diagnostic {
	p.t.Helper()
	resp, err := p.server.ValidateResourceConfig(p.t.Context(), &tfprotov6.ValidateResourceConfigRequest{
		TypeName: kind, Config: p.dynamic(p.schemas[kind].ValueType(), config),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.Diagnostics
}

// plan is what terraform plan does with one resource, which is new when prior is nil. It gives the
// planned attributes.
func (p *planner) plan(kind string, prior, config values) (map[string]tftypes.Value, []*tfprotov6.Diagnostic) {
	p.t.Helper()
	of := p.schemas[kind].ValueType()
	proposed := config
	var before any
	if prior != nil {
		before = prior
		proposed = maps.Clone(prior) // what is computed stays, as Terraform proposes it
		for _, a := range p.schemas[kind].Block.Attributes {
			if v, given := config[a.Name]; given || !a.Computed {
				proposed[a.Name] = v
			}
		}
	}
	resp, err := p.server.PlanResourceChange(p.t.Context(), &tfprotov6.PlanResourceChangeRequest{
		TypeName: kind, Config: p.dynamic(of, config), ProposedNewState: p.dynamic(of, proposed), PriorState: p.dynamic(of, before),
		PriorPrivate: p.private,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.replaces = nil
	for _, at := range resp.RequiresReplace {
		p.replaces = append(p.replaces, at.String())
	}
	if resp.PlannedState == nil {
		return nil, resp.Diagnostics
	}
	raw, err := resp.PlannedState.Unmarshal(of)
	if err != nil {
		p.t.Fatal(err)
	}
	planned := map[string]tftypes.Value{}
	if err := raw.As(&planned); err != nil {
		p.t.Fatal(err)
	}
	return planned, resp.Diagnostics
}

// state makes a planned resource one that is there: what would be known after the apply is made up.
func (p *planner) state(planned map[string]tftypes.Value) values {
	state := values{}
	for name, v := range planned {
		switch {
		case !v.IsFullyKnown() && v.Type().Is(tftypes.String):
			state[name] = "made up"
		case !v.IsFullyKnown():
			state[name] = nil
		default:
			state[name] = v
		}
	}
	return state
}

// diagnosed checks that a diagnostic is about the attribute and says all of the texts.
func diagnosed(t *testing.T, diags []*tfprotov6.Diagnostic, severity tfprotov6.DiagnosticSeverity, attribute string, texts ...string) {
	t.Helper()
	var seen []string
	for _, d := range diags {
		seen = append(seen, fmt.Sprintf("%s at %s: %s: %s", d.Severity, d.Attribute, d.Summary, d.Detail))
		at := ""
		if d.Attribute != nil && len(d.Attribute.Steps()) > 0 {
			name, _ := d.Attribute.Steps()[0].(tftypes.AttributeName)
			at = string(name)
		}
		all := d.Summary + " " + d.Detail
		if d.Severity == severity && at == attribute && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(all, text) }) {
			return
		}
	}
	t.Errorf("nothing about %s that says %q, but:\n%s", attribute, texts, strings.Join(seen, "\n"))
}

func clean(t *testing.T, diags []*tfprotov6.Diagnostic) {
	t.Helper()
	for _, d := range diags {
		t.Errorf("%s at %s: %s: %s", d.Severity, d.Attribute, d.Summary, d.Detail)
	}
}

func handleOf(kind, name, mspID string) values {
	return values{"kind": kind, "network": "dev", "domain": "example.com", "owner_id": "0123456789abcdef", "name": name, "msp_id": mspID}
}

// complete configurations of the four, as a user may write them.
func completeNetwork() values { return values{"name": "dev", "domain": "example.com"} }
func completeCA() values {
	return values{"network": handleOf("network", "dev", ""), "name": "ca.org1", "organization": "org1", "common_name": "Org1 CA",
		"validity_years": 5, "certificate_validity": "2160h", "identity_validities": []any{"720h"}, "affiliations": []any{"org1.sales"},
		"advertised_address": "ca.example.net:443", "sans": []any{"10.0.0.1", "ca"}, "port": 17054, "operations_port": 17943,
		"labels": values{"team": "x"}, "limits": values{"memory_mib": 256, "pids": 64, "cpus": 1}, "log": values{"driver": "journald"}}
}

func completeOrganization() values {
	return values{"msp_id": "Org1MSP", "ca": handleOf("ca", "ca.org1", "")}
}

func completePartner(t *testing.T) values {
	t.Helper()
	root := func(name string) any {
		pair, err := certificate.NewRoot(certificate.RootRequest{CommonName: name, Validity: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return string(pair.CertificatePEM())
	}
	return values{"msp_id": "Org9MSP", "network": handleOf("network", "dev", ""), "certificates": values{"root": []any{root("ca")}, "tls_root": []any{root("tlsca")}}}
}

func completeIdentity() values {
	return values{"organization": handleOf("organization", "Org1MSP", "Org1MSP"), "name": "alice", "type": "admin", "affiliation": "org1.sales",
		"attributes": values{"rank": "high", "hf.Registrar.Roles": "client"}, "validity": "720h", "directory": "wallet/alice"}
}

func with(config values, changes values) values {
	out := maps.Clone(config)
	maps.Copy(out, changes)
	return out
}

func TestBadInput(t *testing.T) {
	long := strings.Repeat("x", 65)
	p := newPlanner(t, nil)
	for kind, c := range map[string]struct {
		good  values
		wrong map[string][]any
	}{
		"fabric_network": {completeNetwork(), map[string][]any{
			"name": {"", "with space", "-dash", long}, "domain": {"Example.com", "a..b", "-a.b", "a_b"}, "owner_id": {"", "with space"},
		}},
		"fabric_ca": {completeCA(), map[string][]any{
			"name": {"", "CA", "ca_1", "ca.", "-ca", long}, "organization": {"", long}, "common_name": {"", strings.Repeat("x", 62)},
			"key_algorithm": {"rsa", ""}, "validity_years": {0, 51}, "certificate_validity": {"1m", "90000h", "90s1ms", "a year"}, "identity_validities": {[]any{"0s"}, []any{"96000h"}},
			"renew_before": {"0s", "45 days"}, "key_version": {0},
			"affiliations": {[]any{"a b"}, []any{"Org1"}, []any{"a..b"}, []any{"a", "a"}, []any{""}}, "advertised_address": {"host", "host:0", "host:70000", "a b:1", ":1"},
			"sans": {[]any{"a b"}, []any{"a", "a"}, []any{"*.example.com"}}, "bind_address": {"localhost", ""}, "port": {0, 65536}, "operations_port": {-1},
			"desired_state": {"paused"}, "on_destroy": {"archive"}, "labels": {values{"io.github.fabricops.kind": "x"}},
			"limits": {values{"memory_mib": 1}, values{"pids": 1}, values{"cpus": 0}}, "log": {values{"driver": ""}}, "image": {""},
			"network": {handleOf("organization", "Org1MSP", "Org1MSP")}, "parent": {handleOf("peer", "peer0", "Org1MSP")},
		}},
		"fabric_organization": {completeOrganization(), map[string][]any{
			"msp_id": {"", ".", "..", "Org 1", "Org/1", strings.Repeat("x", 300)}, "ca": {handleOf("network", "dev", ""), nil},
			"certificates": {values{"root": []any{}, "tls_root": []any{}}}, "network": {handleOf("network", "dev", "")},
		}},
		"fabric_identity": {completeIdentity(), map[string][]any{
			"name": {"", "a/b", "a:b", ".", "..", long, "admin", "registrar"}, "type": {"boss", ""}, "affiliation": {"", "a..b", "a b", "."},
			"attributes": {values{"hf.Type": "x"}, values{"hf.Affiliation": "x"}, values{"hf.EnrollmentID": "x"}, values{"io.github.fabricops.kind": "x"}, values{"a": ""}, values{"": "a"}},
			"validity":   {"0s", "87601h"}, "renew_before": {"-1h"}, "key_version": {-1}, "directory": {""}, "organization": {handleOf("ca", "ca.org1", "")},
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			p.t = t
			clean(t, p.validate(kind, c.good))
			for attribute, wrong := range c.wrong {
				for _, value := range wrong {
					if kind == "fabric_network" && attribute == "domain" && value == "" {
						continue
					}
					t.Run(fmt.Sprintf("%s = %.40v", attribute, value), func(t *testing.T) {
						diags := p.validate(kind, with(c.good, values{attribute: value}))
						if len(diags) == 0 {
							t.Fatal("it was accepted")
						}
						for _, d := range diags {
							if d.Summary == "" || d.Detail == "" {
								t.Errorf("%q %q says too little", d.Summary, d.Detail)
							}
						}
						if !slices.ContainsFunc(diags, func(d *tfprotov6.Diagnostic) bool { return strings.Contains(d.Attribute.String(), `"`+attribute+`"`) }) {
							t.Errorf("none of %d diagnostics is about %s, but %s: %s", len(diags), attribute, diags[0].Attribute, diags[0].Detail)
						}
					})
				}
			}
		})
	}
}

func TestCombinationsThatCannotBe(t *testing.T) {
	for name, test := range map[string]struct {
		kind, attribute string
		config          values
		texts           []string
	}{
		"a lifetime beyond that of the CA": {"fabric_ca", "certificate_validity", with(completeCA(), values{"validity_years": 1, "certificate_validity": "8784h"}), []string{"8784h", "8760h"}},
		"a further one":                    {"fabric_ca", "identity_validities", with(completeCA(), values{"validity_years": 1, "identity_validities": []any{"240h", "9600h"}}), []string{"9600h"}},
		"one port twice":                   {"fabric_ca", "operations_port", with(completeCA(), values{"operations_port": 17054}), []string{"17054"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlanner(t, nil)
			_, diags := p.plan(test.kind, nil, test.config)
			diagnosed(t, diags, tfprotov6.DiagnosticSeverityError, test.attribute, test.texts...)
		})
	}
	p := newPlanner(t, nil)
	diags := p.validate("fabric_ca", with(completeCA(), values{"parent": handleOf("ca", "ca.root", "")}))
	diagnosed(t, diags, tfprotov6.DiagnosticSeverityError, "validity_years", "parent")
}

func TestPartnerCertificates(t *testing.T) {
	good := completePartner(t)
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "ca", Validity: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	key, err := certificate.GenerateKey(certificate.DefaultKeyAlgorithm)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := certificate.Issue(root, certificate.LeafRequest{CommonName: "leaf", Server: true, Validity: time.Hour, PublicKey: key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	expired, err := certificate.NewRoot(certificate.RootRequest{CommonName: "old", Validity: time.Hour, Now: time.Now().Add(-48 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	text := func(pem []byte) any { return string(pem) }
	given := good["certificates"].(values)
	for name, certificates := range map[string]values{
		"no certificate":            with(given, values{"root": []any{"no certificate"}}),
		"a certificate that is cut": with(given, values{"root": []any{text(root.CertificatePEM()[:200])}}),
		"no CA":                     with(given, values{"root": []any{text(certificate.EncodeCertificate(leaf))}}),
		"expired":                   with(given, values{"root": []any{text(expired.CertificatePEM())}}),
		"an intermediate of nobody": with(given, values{"intermediate": []any{text(certificate.EncodeCertificate(leaf))}}),
		"no TLS root":               with(given, values{"tls_root": []any{}}),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlanner(t, nil)
			_, diags := p.plan("fabric_organization", nil, with(good, values{"certificates": certificates}))
			diagnosed(t, diags, tfprotov6.DiagnosticSeverityError, "certificates", "make no MSP")
		})
	}
	p := newPlanner(t, nil)
	planned, diags := p.plan("fabric_organization", nil, good)
	clean(t, diags)
	// One that was fine when it was made refuses no later plan.
	prior := p.state(planned)
	prior["certificates"] = p.value(planned["certificates"].Type(), with(given, values{"root": []any{text(expired.CertificatePEM())}}))
	later := with(good, values{"certificates": prior["certificates"]})
	_, diags = newPlanner(t, nil).plan("fabric_organization", prior, later)
	clean(t, diags)
}

// TestPlanFromUnknown plans the four with every attribute unknown in turn, and with all of them: a
// plan never fails for want of a value, and an engine is never asked.
func TestPlanFromUnknown(t *testing.T) {
	for kind, config := range map[string]values{
		"fabric_network": completeNetwork(), "fabric_ca": completeCA(), "fabric_organization": completeOrganization(), "fabric_identity": completeIdentity(),
	} {
		t.Run(kind, func(t *testing.T) {
			all := values{}
			for name := range config {
				p := newPlanner(t, nil)
				clean(t, p.validate(kind, with(config, values{name: unknown{}})))
				_, diags := p.plan(kind, nil, with(config, values{name: unknown{}}))
				clean(t, diags)
				all[name] = unknown{}
			}
			p := newPlanner(t, nil)
			clean(t, p.validate(kind, all))
			_, diags := p.plan(kind, nil, all)
			clean(t, diags)

			// Members of handles, and elements, may be unknown as well.
			p = newPlanner(t, nil)
			parts := values{}
			for name, v := range config {
				switch whole := v.(type) {
				case values:
					parts[name] = values{}
					for member := range whole {
						parts[name].(values)[member] = unknown{}
					}
				case []any:
					parts[name] = []any{unknown{}}
				default:
					parts[name] = v
				}
			}
			clean(t, p.validate(kind, parts))
			_, diags = p.plan(kind, nil, parts)
			clean(t, diags)
		})
	}
	p := newPlanner(t, values{"docker_host": unknown{}, "ca_version": unknown{}})
	planned, diags := p.plan("fabric_ca", nil, completeCA())
	clean(t, diags)
	if planned["image"].IsKnown() {
		t.Error("an image was chosen while the version is not known")
	}
}

// What can be known before anything is made is known in the plan.
func TestKnownAtPlan(t *testing.T) {
	p := newPlanner(t, nil)
	planned, diags := p.plan("fabric_network", nil, with(completeNetwork(), values{"owner_id": "mine"}))
	clean(t, diags)
	if !planned["handle"].IsFullyKnown() {
		t.Error("the handle of a network with an owner_id is not known")
	}
	planned, diags = p.plan("fabric_ca", nil, with(completeCA(), values{"common_name": nil, "validity_years": nil, "advertised_address": nil}))
	clean(t, diags)
	for name, want := range map[string]any{
		"common_name": "ca.org1", "validity_years": 15, "endpoint": "ca.org1.example.com:7054", "image": "hyperledger/fabric-ca:" + defaultCAVersion,
		"status": "running", "desired_state": "running", "bind_address": "127.0.0.1", "key_algorithm": "ecdsa-p256", "deletion_protection": true,
	} {
		if !planned[name].Equal(p.value(planned[name].Type(), want)) {
			t.Errorf("%s is planned as %s, want %v", name, planned[name], want)
		}
	}
	if !planned["handle"].IsFullyKnown() {
		t.Error("the handle of a CA is not known")
	}
	planned, _ = p.plan("fabric_ca", nil, with(completeCA(), values{"name": "ca.org2", "validity_years": nil, "parent": handleOf("ca", "ca.root", ""), "port": nil, "operations_port": nil}))
	if !planned["validity_years"].IsNull() {
		t.Errorf("the validity of an intermediate is planned as %s", planned["validity_years"])
	}
}

// A change of how a CA runs, or of what it issues, leaves what others use as it is.
func TestCAPlansInPlace(t *testing.T) {
	p := newPlanner(t, nil)
	config := completeCA()
	planned, diags := p.plan("fabric_ca", nil, config)
	clean(t, diags)
	prior := p.state(planned)
	for name, change := range map[string]values{
		"image": {"image": "hyperledger/fabric-ca:1.5.14"}, "port": {"port": 17055}, "limits": {"limits": nil}, "labels": {"labels": values{"a": "b"}},
		"log": {"log": nil}, "stopped": {"desired_state": "stopped"}, "sans": {"sans": []any{"other"}}, "address": {"advertised_address": nil},
		"validity": {"certificate_validity": "720h", "identity_validities": nil}, "affiliations": {"affiliations": nil}, "bind": {"bind_address": "0.0.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlanner(t, nil)
			planned, diags := p.plan("fabric_ca", prior, with(config, change))
			clean(t, diags)
			for _, exported := range []string{"certificate", "tls_certificate", "handle", "common_name"} {
				if !planned[exported].IsFullyKnown() {
					t.Errorf("%s is not known any more", exported)
				}
			}
		})
	}
}

func TestNamesUsedTwice(t *testing.T) {
	ca, organization, identity := completeCA(), completeOrganization(), completeIdentity()
	quiet := values{"port": nil, "operations_port": nil, "labels": nil}
	for name, test := range map[string]struct {
		kind, attribute string
		first, second   values
		texts           []string
	}{
		"networks":                   {"fabric_network", "name", completeNetwork(), with(completeNetwork(), values{"domain": "example.org"}), []string{"network dev"}},
		"CAs":                        {"fabric_ca", "name", ca, with(ca, with(quiet, values{"organization": "org2"})), []string{"CA ca.org1 on network dev"}},
		"the same CA":                {"fabric_ca", "name", with(ca, quiet), with(ca, quiet), []string{"CA ca.org1"}},
		"organizations":              {"fabric_organization", "msp_id", organization, with(organization, values{"ca": handleOf("ca", "ca.org2", "")}), []string{"organization Org1MSP"}},
		"organizations of one CA":    {"fabric_organization", "ca", organization, with(organization, values{"msp_id": "Org2MSP"}), []string{"ca.org1", "Org1MSP"}},
		"identities":                 {"fabric_identity", "name", identity, with(identity, values{"directory": nil}), []string{"identity alice"}},
		"identities in a directory":  {"fabric_identity", "directory", identity, with(identity, values{"name": "bob", "directory": "wallet/../wallet/alice/"}), []string{"dev/Org1MSP/alice"}},
		"host ports":                 {"fabric_ca", "port", ca, with(ca, values{"name": "ca.org2", "operations_port": nil}), []string{"17054", "ca.org1", "ca.org2"}},
		"host ports, all addresses":  {"fabric_ca", "port", ca, with(ca, values{"name": "ca.org2", "operations_port": nil, "bind_address": "0.0.0.0"}), []string{"17054"}},
		"host port of an operations": {"fabric_ca", "port", ca, with(ca, values{"name": "ca.org2", "port": 17943, "operations_port": nil}), []string{"17943"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlanner(t, nil)
			planned, diags := p.plan(test.kind, nil, test.first)
			clean(t, diags)
			prior := p.state(planned)
			_, diags = p.plan(test.kind, nil, test.second)
			diagnosed(t, diags, tfprotov6.DiagnosticSeverityError, test.attribute, test.texts...)

			if strings.HasPrefix(name, "the same") {
				return
			}
			// One of them is there already, whichever Terraform comes to first.
			p = newPlanner(t, nil)
			_, diags = p.plan(test.kind, prior, test.first)
			clean(t, diags)
			_, diags = p.plan(test.kind, nil, test.second)
			diagnosed(t, diags, tfprotov6.DiagnosticSeverityError, test.attribute, test.texts...)
			p = newPlanner(t, nil)
			_, diags = p.plan(test.kind, nil, test.second)
			clean(t, diags)
			_, diags = p.plan(test.kind, prior, test.first)
			if len(diags) == 0 {
				t.Error("the order in which they are planned hides it")
			}
		})
	}
}

// A replacement is planned as it is and then anew; that is no second resource.
func TestReplacementIsNoSecondResource(t *testing.T) {
	for kind, test := range map[string]struct{ first, second values }{
		"fabric_network":      {completeNetwork(), with(completeNetwork(), values{"domain": "example.org"})},
		"fabric_ca":           {completeCA(), with(completeCA(), values{"organization": "org2"})},
		"fabric_organization": {completeOrganization(), with(completeOrganization(), values{"ca": handleOf("ca", "ca.org2", "")})},
		"fabric_identity":     {completeIdentity(), with(completeIdentity(), values{"directory": "elsewhere"})},
	} {
		t.Run(kind, func(t *testing.T) {
			p := newPlanner(t, nil)
			planned, diags := p.plan(kind, nil, test.first)
			clean(t, diags)
			prior := p.state(planned)
			p = newPlanner(t, nil)
			for _, before := range []values{prior, nil} {
				_, diags = p.plan(kind, before, test.second)
				clean(t, diags)
			}
			// One that is asked for with -replace has the private state of before both times, by which it is
			// told from a twin.
			p = newPlanner(t, nil)
			p.private = fmt.Appendf(nil, `{%q:%q}`, engineKey, base64.StdEncoding.EncodeToString([]byte(`{"id":"engine"}`)))
			for _, before := range []values{prior, nil} {
				_, diags = p.plan(kind, before, test.first)
				clean(t, diags)
			}
			p = newPlanner(t, nil)
			_, diags = p.plan(kind, prior, test.first)
			clean(t, diags)
			_, diags = p.plan(kind, nil, test.first)
			if !slices.ContainsFunc(diags, func(d *tfprotov6.Diagnostic) bool {
				return d.Severity == tfprotov6.DiagnosticSeverityError && strings.HasSuffix(d.Summary, "used twice")
			}) {
				t.Errorf("a twin passes: %v", diags)
			}
		})
	}
}

func TestValidityThatTheCADoesNotIssue(t *testing.T) {
	p := newPlanner(t, nil)
	_, diags := p.plan("fabric_ca", nil, completeCA())
	clean(t, diags)
	_, diags = p.plan("fabric_organization", nil, completeOrganization())
	clean(t, diags)
	for validity, fine := range map[string]bool{"720h": true, "43200m": true, "2160h": true, "744h": false, "8760h": false} {
		_, diags = p.plan("fabric_identity", nil, with(completeIdentity(), values{"name": "a" + validity, "directory": nil, "validity": validity}))
		if fine {
			clean(t, diags)
		} else {
			diagnosed(t, diags, tfprotov6.DiagnosticSeverityError, "validity", "CA ca.org1", validity, "2160h, 720h")
		}
	}
	// Of a CA in another state nothing is known at plan.
	_, diags = newPlanner(t, nil).plan("fabric_identity", nil, with(completeIdentity(), values{"validity": "744h"}))
	clean(t, diags)
}

// What was lost decides what can be done about it.
func TestWayOutOfALoss(t *testing.T) {
	h := network.Handle{Kind: network.KindOrganization, Network: "dev", Name: "Org1MSP"}
	for kind, want := range map[network.Kind]string{network.KindOrganization: "-replace=", network.KindCA: "accept_data_loss = true"} {
		text := explain(fmt.Errorf("unable to go on: %w", &network.LostError{Thing: h.With(kind, "it", ""), Volume: "dev-it-keys"}))
		if !strings.Contains(text, want) || !strings.Contains(text, "dev-it-keys") {
			t.Errorf("%s: %s", kind, text)
		}
	}
}
