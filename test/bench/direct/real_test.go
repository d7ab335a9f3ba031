package direct_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/test/bench/direct"
)

// TestRealUpAndDown brings the network up with blocks that are cut at once, upgrades its chaincode, dismantles it, and looks
// what is left of it, and of one whose bring-up was called off.
func TestRealUpAndDown(t *testing.T) {
	if os.Getenv("FABRIC_REAL") != "1" {
		t.Skip("needs Docker and the images of Fabric: set FABRIC_REAL=1")
	}
	api, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	version, err := nodeconfig.ParseVersion("3.1.1")
	if err != nil {
		t.Fatal(err)
	}
	options := direct.Options{
		Name: "bench-test", Version: version, Batch: configtx.Batch{MaxMessageCount: 1},
		Images: direct.Images{
			CA: "hyperledger/fabric-ca:1.5.13", Orderer: "hyperledger/fabric-orderer:3.1.1",
			Peer: "hyperledger/fabric-peer:3.1.1", Chaincode: "fabricops/kv-chaincode:1.0",
		},
	}
	t.Cleanup(func() {
		if _, err := direct.Down(context.Background(), api, options.Name); err != nil {
			t.Error(err)
		}
	})
	network, up, err := direct.Up(t.Context(), api, options)
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	// Two approvals, the commit and the transaction come after the genesis block.
	if up.TxID == "" || up.Block < 3 {
		t.Errorf("transaction %q is in block %d", up.TxID, up.Block)
	}
	if got, want := count(t, api, options.Name), (objects{21, 17, 1}); got != want {
		t.Errorf("the network is made of %+v, want %+v", got, want)
	}
	if _, err := network.Upgrade(t.Context(), "2.0", "fabricops/kv-chaincode:2.0"); err != nil {
		t.Fatal(err)
	}
	if got, want := count(t, api, options.Name), (objects{21, 17, 1}); got != want {
		t.Errorf("upgraded, it is made of %+v, want %+v", got, want)
	}
	if _, err := network.Dismantle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := count(t, api, options.Name); got != (objects{}) {
		t.Errorf("dismantled, it has left %+v", got)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, _, err := direct.Up(ctx, api, options); err == nil {
		t.Error("a bring-up that was called off reports success")
	}
	if _, err := direct.Down(t.Context(), api, options.Name); err != nil {
		t.Fatal(err)
	}
	if got := count(t, api, options.Name); got != (objects{}) {
		t.Errorf("called off and taken down, it has left %+v", got)
	}
}

type objects struct{ containers, volumes, networks int }

func count(t *testing.T, api *client.Client, name string) objects {
	t.Helper()
	ours := client.Filters{}.Add("label", "fabric-bench="+name)
	containers, err := api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := api.VolumeList(t.Context(), client.VolumeListOptions{Filters: ours})
	if err != nil {
		t.Fatal(err)
	}
	networks, err := api.NetworkList(t.Context(), client.NetworkListOptions{Filters: ours})
	if err != nil {
		t.Fatal(err)
	}
	return objects{len(containers.Items), len(volumes.Items), len(networks.Items)}
}
