package lifecycle

import (
	"slices"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

func parameter(t testing.TB, text string) []byte {
	t.Helper()
	parsed, err := policy.ParseApplicationPolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	marshalled, err := parsed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return marshalled
}

func collection(name string, change ...func(*peer.StaticCollectionConfig)) *peer.CollectionConfig {
	static := &peer.StaticCollectionConfig{
		Name: name, RequiredPeerCount: 1, MaximumPeerCount: 2,
		MemberOrgsPolicy: &peer.CollectionPolicyConfig{Payload: &peer.CollectionPolicyConfig_SignaturePolicy{SignaturePolicy: &common.SignaturePolicyEnvelope{}}},
	}
	for _, c := range change {
		c(static)
	}
	return &peer.CollectionConfig{Payload: &peer.CollectionConfig_StaticCollectionConfig{StaticCollectionConfig: static}}
}

func collections(configs ...*peer.CollectionConfig) *peer.CollectionConfigPackage {
	return &peer.CollectionConfigPackage{Config: configs}
}

func definition(change ...func(*Definition)) Definition {
	d := Definition{Name: "asset", Version: "1.0", Sequence: 1}
	for _, c := range change {
		c(&d)
	}
	return d
}

func TestDefinitionValidate(t *testing.T) {
	good := definition(func(d *Definition) {
		d.ValidationParameter, d.Collections = parameter(t, "OR('Org1MSP.peer')"), collections(collection("a"), collection("b"))
	})
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Definition){
		"chaincode name":     func(d *Definition) { d.Name = "" },
		"chaincode version":  func(d *Definition) { d.Version = "1 0" },
		"sequence 0":         func(d *Definition) { d.Sequence = 0 },
		"endorsement policy": func(d *Definition) { d.ValidationParameter = []byte("junk") },
		"no configuration":   func(d *Definition) { d.Collections = collections(&peer.CollectionConfig{}) },
		"collection name":    func(d *Definition) { d.Collections = collections(collection("_a")) },
		"there twice":        func(d *Definition) { d.Collections = collections(collection("a"), collection("a")) },
		"negative": func(d *Definition) {
			d.Collections = collections(collection("a", func(c *peer.StaticCollectionConfig) { c.RequiredPeerCount = -1 }))
		},
		"below the required": func(d *Definition) {
			d.Collections = collections(collection("a", func(c *peer.StaticCollectionConfig) { c.MaximumPeerCount = 0 }))
		},
		"member organizations": func(d *Definition) {
			d.Collections = collections(collection("a", func(c *peer.StaticCollectionConfig) { c.MemberOrgsPolicy = nil }))
		},
	} {
		if err := definition(change).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := (Definition{}).Validate(); strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not all problems at once: %v", err)
	}
}

func TestDefinitionDiff(t *testing.T) {
	and, or := parameter(t, "AND('Org1MSP.peer', 'Org2MSP.peer')"), parameter(t, "OR('Org1MSP.peer', 'Org2MSP.peer')")
	set := func(change func(*peer.StaticCollectionConfig)) func(*Definition) {
		return func(d *Definition) { d.Collections = collections(collection("a", change)) }
	}
	plain := func(d *Definition) { d.Collections = collections(collection("a")) }
	for name, test := range map[string]struct {
		from, to func(*Definition)
		want     []string
	}{
		"nothing":         {func(*Definition) {}, func(*Definition) {}, nil},
		"name":            {func(*Definition) {}, func(d *Definition) { d.Name = "b" }, []string{"name: asset -> b"}},
		"version":         {func(*Definition) {}, func(d *Definition) { d.Version = "2" }, []string{"version: 1.0 -> 2"}},
		"sequence":        {func(*Definition) {}, func(d *Definition) { d.Sequence = 2 }, []string{"sequence: 1 -> 2"}},
		"init":            {func(*Definition) {}, func(d *Definition) { d.InitRequired = true }, []string{"init required: false -> true"}},
		"default plugins": {func(*Definition) {}, func(d *Definition) { d.EndorsementPlugin, d.ValidationPlugin = "escc", "vscc" }, nil},
		"plugins": {func(*Definition) {}, func(d *Definition) { d.EndorsementPlugin, d.ValidationPlugin = "mine", "yours" },
			[]string{"endorsement plugin: escc -> mine", "validation plugin: vscc -> yours"}},
		"default policy": {func(*Definition) {}, func(d *Definition) { d.ValidationParameter = parameter(t, "/Channel/Application/Endorsement") }, nil},
		"policy from default": {func(*Definition) {}, func(d *Definition) { d.ValidationParameter = or },
			[]string{"endorsement policy: /Channel/Application/Endorsement -> OR('Org1MSP.peer', 'Org2MSP.peer')"}},
		"policy": {func(d *Definition) { d.ValidationParameter = and }, func(d *Definition) { d.ValidationParameter = or },
			[]string{"endorsement policy: AND('Org1MSP.peer', 'Org2MSP.peer') -> OR('Org1MSP.peer', 'Org2MSP.peer')"}},
		"unreadable policy": {func(*Definition) {}, func(d *Definition) { d.ValidationParameter = []byte{1, 2, 3} },
			[]string{"endorsement policy: /Channel/Application/Endorsement -> a policy of 3 bytes"}},
		"no collections":       {func(*Definition) {}, func(d *Definition) { d.Collections = collections() }, nil},
		"same collections":     {plain, plain, nil},
		"collection added":     {func(*Definition) {}, plain, []string{"collection a: added"}},
		"collection removed":   {plain, func(*Definition) {}, []string{"collection a: removed"}},
		"collection reordered": {func(d *Definition) { d.Collections = collections(collection("a"), collection("b")) }, func(d *Definition) { d.Collections = collections(collection("b"), collection("a")) }, []string{"collections: other order"}},
		"required peers":       {plain, set(func(c *peer.StaticCollectionConfig) { c.RequiredPeerCount = 0 }), []string{"collection a: required peer count: 1 -> 0"}},
		"maximum peers":        {plain, set(func(c *peer.StaticCollectionConfig) { c.MaximumPeerCount = 3 }), []string{"collection a: maximum peer count: 2 -> 3"}},
		"block to live":        {plain, set(func(c *peer.StaticCollectionConfig) { c.BlockToLive = 9 }), []string{"collection a: block to live: 0 -> 9"}},
		"member only": {plain, set(func(c *peer.StaticCollectionConfig) { c.MemberOnlyRead, c.MemberOnlyWrite = true, true }),
			[]string{"collection a: member only read: false -> true", "collection a: member only write: false -> true"}},
		"members": {plain, set(func(c *peer.StaticCollectionConfig) { c.MemberOrgsPolicy.GetSignaturePolicy().Version = 1 }),
			[]string{"collection a: member organizations changed"}},
		"collection policy": {plain, set(func(c *peer.StaticCollectionConfig) { c.EndorsementPolicy = &peer.ApplicationPolicy{} }),
			[]string{"collection a: endorsement policy changed"}},
	} {
		if got := definition(test.from).Diff(definition(test.to)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
