package configtx

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

var update = flag.Bool("update", false, "write testdata anew with the configtxgen that CONFIGTXGEN names")

// TestAgreesWithConfigtxgen compares the configuration in our genesis block with the one that Fabric's
// own tool makes of the same channel. testdata/channel.json is a Channel, testdata/configtxgen.json what
// configtxgen of Fabric 3.1.1 -inspectBlock said about its block. With CONFIGTXGEN set to the path of a
// configtxgen, that tool is asked instead, and it also reads our own block; with CONFIGTXLATOR set to
// the path of a configtxlator, its JSON is compared too, byte by byte.
func TestAgreesWithConfigtxgen(t *testing.T) {
	tool := os.Getenv("CONFIGTXGEN")
	if *update {
		if tool == "" {
			t.Fatal("-update needs CONFIGTXGEN")
		}
		c := newNetwork(t).channel()
		c.ChannelCapability = ChannelCapabilityV2_0
		c.Batch.MaxMessageCount = 77
		c.Policies = map[string]string{"Admins": "ALL Admins"}
		c.ApplicationPolicies = map[string]string{"LifecycleEndorsement": "AND('Org1MSP.peer', OR('org-2.example.com.peer', 'org-2.example.com.admin'))"}
		c.ACLs = map[string]string{"peer/Propose": "/Channel/Application/Writers", "event/Block": "Readers"}
		writeFile(t, "testdata/channel.json", indented(t, c))
	}
	c := fixedChannel(t)
	block := fixedGenesis(t)
	config, err := Decode(block)
	if err != nil {
		t.Fatal(err)
	}
	text, err := JSON(config)
	if err != nil {
		t.Fatal(err)
	}
	var ours any
	if err := json.Unmarshal(text, &ours); err != nil {
		t.Fatal(err)
	}
	if tool != "" {
		dir := t.TempDir()
		theirs := runConfigtxgen(t, tool, dir, c)
		if *update {
			writeFile(t, "testdata/configtxgen.json", indented(t, theirs))
		}
		compare(t, "live", ours, theirs)
		// The tool makes the same of our block as we do.
		writeFile(t, filepath.Join(dir, "ours.block"), marshal(t, block))
		compare(t, "inspected", inspect(t, tool, filepath.Join(dir, "ours.block")), ours)
	}
	if translator := os.Getenv("CONFIGTXLATOR"); translator != "" {
		path := filepath.Join(t.TempDir(), "config.pb")
		writeFile(t, path, marshal(t, config.Proto))
		if theirs := command(t, translator, "proto_decode", "--type", "common.Config", "--input", path); !bytes.Equal(theirs, text) {
			t.Errorf("configtxlator writes other text:\n%s\nwe:\n%s", theirs, text)
		}
	}
	raw, err := os.ReadFile("testdata/configtxgen.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden any
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	compare(t, "golden", ours, golden)
}

// fixedChannel gives the channel of testdata.
func fixedChannel(t testing.TB) Channel {
	t.Helper()
	raw, err := os.ReadFile("testdata/channel.json")
	if err != nil {
		t.Fatal(err)
	}
	var c Channel
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// fixedGenesis gives its genesis block, made at an instant at which its certificates are valid.
func fixedGenesis(t testing.TB) *common.Block {
	t.Helper()
	c := fixedChannel(t)
	first, err := certificate.ParseOne([]byte(c.Consenters[0].ServerTLSCertPEM))
	if err != nil {
		t.Fatal(err)
	}
	block, err := genesisAt(c, first.NotBefore.Add(2*time.Hour), []byte("nonce"))
	if err != nil {
		t.Fatal(err)
	}
	return block
}

func compare(t *testing.T, what string, got, want any) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	g, w := strings.Split(string(indented(t, got)), "\n"), strings.Split(string(indented(t, want)), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Errorf("%s: line %d\n got %s\nwant %s", what, i+1, g[i], w[i])
			return
		}
	}
	t.Errorf("%s: one text is longer", what)
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func indented(t testing.TB, v any) []byte {
	t.Helper()
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// runConfigtxgen has the tool make a genesis block of the channel, and gives the configuration in it.
func runConfigtxgen(t *testing.T, tool, dir string, c Channel) any {
	t.Helper()
	c = c.withDefaults()
	tree, problems := c.policyTree()
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var y bytes.Buffer
	written := map[string]map[string]string{"/Channel": c.Policies, "/Channel/Orderer": c.OrdererPolicies, "/Channel/Application": c.ApplicationPolicies}
	policies := func(indent string, g *policyGroup) {
		fmt.Fprintf(&y, "%sPolicies:\n", indent)
		for _, name := range slices.Sorted(maps.Keys(g.policies)) {
			p := g.policies[name]
			kind := "Signature"
			if !p.Meta.IsZero() {
				kind = "ImplicitMeta"
			}
			rule := p.String()
			if text, ok := written[g.path][name]; ok {
				rule = text // as written: the canonical form may have another order
			}
			fmt.Fprintf(&y, "%s  %s: {Type: %s, Rule: %q}\n", indent, name, kind, rule)
		}
	}
	organization := func(g *policyGroup, d msp.Definition) {
		folder, err := msp.Folder(d, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range folder {
			writeFile(t, filepath.Join(dir, d.ID, filepath.FromSlash(name)), content)
		}
		fmt.Fprintf(&y, "        - Name: %s\n          ID: %s\n          MSPDir: %s\n", d.ID, d.ID, filepath.Join(dir, d.ID))
		policies("          ", g)
	}
	fmt.Fprintf(&y, "Profiles:\n  P:\n    Capabilities: {%s: true}\n", c.ChannelCapability)
	policies("    ", tree)
	fmt.Fprintf(&y, "    Orderer:\n      OrdererType: etcdraft\n      BatchTimeout: %s\n      BatchSize: {MaxMessageCount: %d, AbsoluteMaxBytes: %d, PreferredMaxBytes: %d}\n      Capabilities: {%s: true}\n",
		c.Batch.Timeout, c.Batch.MaxMessageCount, c.Batch.AbsoluteMaxBytes, c.Batch.PreferredMaxBytes, c.OrdererCapability)
	fmt.Fprintf(&y, "      EtcdRaft:\n        Options: {TickInterval: %s, ElectionTick: %d, HeartbeatTick: %d, MaxInflightBlocks: %d, SnapshotIntervalSize: %d}\n        Consenters:\n",
		c.Raft.TickInterval, c.Raft.ElectionTick, c.Raft.HeartbeatTick, c.Raft.MaxInflightBlocks, c.Raft.SnapshotIntervalSize)
	for i, consenter := range c.Consenters {
		client, server := filepath.Join(dir, fmt.Sprint("client", i)), filepath.Join(dir, fmt.Sprint("server", i))
		writeFile(t, client, []byte(consenter.ClientTLSCertPEM))
		writeFile(t, server, []byte(consenter.ServerTLSCertPEM))
		fmt.Fprintf(&y, "          - {Host: %s, Port: %d, ClientTLSCert: %s, ServerTLSCert: %s}\n", consenter.Host, consenter.Port, client, server)
	}
	policies("      ", tree.below[0])
	fmt.Fprintf(&y, "      Organizations:\n")
	for i, o := range c.OrdererOrganizations {
		organization(tree.below[0].below[i], o.Definition)
		fmt.Fprintf(&y, "          OrdererEndpoints: [%s]\n", strings.Join(o.Endpoints, ", "))
	}
	fmt.Fprintf(&y, "    Application:\n      Capabilities: {%s: true}\n", c.ApplicationCapability)
	if len(c.ACLs) > 0 {
		fmt.Fprintf(&y, "      ACLs:\n")
		for _, resource := range slices.Sorted(maps.Keys(c.ACLs)) {
			fmt.Fprintf(&y, "        %s: %s\n", resource, c.ACLs[resource])
		}
	}
	policies("      ", tree.below[1])
	fmt.Fprintf(&y, "      Organizations:\n")
	for i, o := range c.ApplicationOrganizations {
		organization(tree.below[1].below[i], o.Definition)
		if len(o.AnchorPeers) > 0 {
			fmt.Fprintf(&y, "          AnchorPeers:\n")
		}
		for _, a := range o.AnchorPeers {
			fmt.Fprintf(&y, "            - {Host: %s, Port: %d}\n", a.Host, a.Port)
		}
	}
	writeFile(t, filepath.Join(dir, "configtx.yaml"), y.Bytes())
	block := filepath.Join(dir, "theirs.block")
	command(t, tool, "-profile", "P", "-channelID", c.Name, "-configPath", dir, "-outputBlock", block)
	return inspect(t, tool, block)
}

// inspect gives the configuration in a block as the tool prints it.
func inspect(t *testing.T, tool, block string) any {
	t.Helper()
	var tree struct {
		Data struct {
			Data []struct {
				Payload struct {
					Data struct {
						Config any `json:"config"`
					} `json:"data"`
				} `json:"payload"`
			} `json:"data"`
		} `json:"data"`
	}
	out := command(t, tool, "-inspectBlock", block)
	if err := json.Unmarshal(out, &tree); err != nil || len(tree.Data.Data) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	return tree.Data.Data[0].Payload.Data.Config
}

func command(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out
}
