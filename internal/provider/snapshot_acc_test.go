package provider

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/grpcconn"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// asked is a peer that is asked as the admin of its organization, past the provider.
type asked struct {
	endorser.Peer
	admin *msp.Identity
}

func askPeer(t *testing.T, on, organization, name string) asked {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	e := localEngine(t)
	f := network.New(e)
	spec, err := f.FindChannel(t.Context(), on, "trade")
	must(err)
	credentials, err := f.Credentials(t.Context(), spec.Organizations[organization].Organization)
	must(err)
	key, err := certificate.ParseKey([]byte(credentials.PrivateKey))
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(strings.Join(credentials.Definition.TLSRootCertificates, "")))
	host := name + ".example.com"
	conn, err := grpcconn.Dial(host+":7051", host, roots, func(ctx context.Context) (net.Conn, error) { return e.Dial(ctx, on+"-"+name, 7051) }, nil)
	must(err)
	t.Cleanup(func() { _ = conn.Close() })
	return asked{
		Peer:  endorser.Peer{Name: name, Conn: conn},
		admin: &msp.Identity{ID: credentials.MSPID, CertificatePEM: []byte(credentials.Certificate), Key: key},
	}
}

func (a asked) chain(ctx context.Context) (*common.BlockchainInfo, error) {
	return endorser.ChainInfo(ctx, a.Peer, a.admin, "trade")
}

// answer is what the chaincode on this very peer returns.
func (a asked) answer(ctx context.Context, function string, arguments ...string) (string, error) {
	call := endorser.Invocation{Channel: "trade", Chaincode: "kv", Args: [][]byte{[]byte(function)}}
	for _, argument := range arguments {
		call.Args = append(call.Args, []byte(argument))
	}
	proposal, err := endorser.NewProposal(a.admin, call)
	if err != nil {
		return "", err
	}
	answer, err := endorser.Evaluate(ctx, proposal, a.Peer)
	return string(answer), err
}

// await asks until the chaincode answers so.
func (a asked) await(ctx context.Context, want, function string, arguments ...string) error {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		got, err := a.answer(ctx, function, arguments...)
		if err == nil && got == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %v answers %q on %s, and %q was written: %w", function, arguments, got, a.Name, want, err)
		case <-again.C:
		}
	}
}

// snapshotsLeft finds what joining from a snapshot leaves nowhere: copies on volumes, and containers.
func snapshotsLeft(t *testing.T, on string, peers ...string) error {
	t.Helper()
	err := noKeepers(t, on)
	for _, p := range peers {
		for _, folder := range []string{"completed/trade", "temp"} {
			files, failed := localEngine(t).GetFiles(t.Context(), on+"-"+p, path.Join("/var/hyperledger/node/data/snapshots", folder))
			if failed != nil && !errors.Is(failed, engine.ErrNotFound) {
				err = errors.Join(err, failed)
			}
			for _, f := range files {
				err = errors.Join(err, fmt.Errorf("%s has %s", p, f.Name))
			}
		}
	}
	return err
}

// joinedFromSnapshot checks that peer1.org1 began with the state after a block, and that everything is
// there that this takes.
func joinedFromSnapshot(t *testing.T, on string, first *uint64, values map[string]string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		late := askPeer(t, on, "org1", "peer1.org1")
		info, err := late.chain(ctx)
		if err != nil {
			return err
		}
		began := info.GetBootstrappingSnapshotInfo()
		if began.GetLastBlockInSnapshot() <= *first {
			return fmt.Errorf("it began with %v, which is not after block %d: %v", began, *first, info)
		}
		*first = began.GetLastBlockInSnapshot()
		if other, err := askPeer(t, on, "org1", "peer0.org1").chain(ctx); err != nil || other.GetBootstrappingSnapshotInfo() != nil {
			return fmt.Errorf("the one that gave the snapshot says %v: %w", other, err)
		}
		if _, err := endorser.BlockByNumber(ctx, late.Peer, late.admin, "trade", 1); err == nil {
			return errors.New("it has a block from before the snapshot")
		}
		for key, value := range values {
			if got, err := late.answer(ctx, "get", key); err != nil || got != value {
				return fmt.Errorf("%s is %q on it, and %q was written: %w", key, got, value, err)
			}
		}
		t.Logf("it began with block %d, and has %d", *first, info.GetHeight())
		return snapshotsLeft(t, on, "peer0.org1", "peer1.org1")
	}
}

// TestLongJoinFromSnapshot has a peer join a running channel from a snapshot of its sibling, lose its
// volume, and join from a snapshot again.
func TestLongJoinFromSnapshot(t *testing.T) {
	requireLong(t)
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			name := networkName(t)
			b := backedUp{name: name, version: version, nodes: "orderer0 = {}", network: `owner_id = "0123456789abcdef"`}
			const late = `, peer1 = fabric_peer.peer1_org1.handle`
			from := func(config string) string {
				return strings.Replace(config, `name                = "trade"`, "name                = \"trade\"\n  join_from           = \"snapshot\"", 1)
			}
			with := func(change func(*backedUp)) string {
				change(&b)
				return from(b.String())
			}
			level := func(*terraform.State) error { _, err := heightsOf(t, name); return err }
			has := func(want, function string, arguments ...string) resource.TestCheckFunc {
				return func(*terraform.State) error {
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
					defer cancel()
					return askPeer(t, name, "org1", "peer1.org1").await(ctx, want, function, arguments...)
				}
			}
			before := beforeRestore{}
			lossy := func() string {
				return strings.Replace(from(b.String()), `name                = "peer1.org1"`, "name                = \"peer1.org1\"\n  accept_data_loss    = true", 1)
			}
			everything := []string{
				"fabric_network.this", "fabric_ca.orderer", "fabric_ca.org1", "fabric_ca.org2", "fabric_organization.orderer", "fabric_organization.org1",
				"fabric_organization.org2", "fabric_orderer_cluster.this", "fabric_peer.peer0_org1", "fabric_peer.peer1_org1", "fabric_peer.peer0_org2",
				"fabric_channel.trade", "fabric_chaincode.kv", "fabric_identity.clerk", "fabric_transaction.put", "fabric_transaction.again",
				"fabric_transaction.secret", "fabric_transaction.run",
			}
			first := uint64(3)
			sweepNetwork(t, name)
			resource.Test(t, resource.TestCase{
				ProtoV6ProviderFactories: factories,
				CheckDestroy:             nothingLeft(t, name),
				Steps: []resource.TestStep{
					{Config: strings.Replace(b.String(), late, "", 1)},
					{ // With the wish alone, nothing changes.
						Config: strings.Replace(with(func(*backedUp) {}), late, "", 1),
					},
					{
						Config: with(func(*backedUp) {}),
						Check:  joinedFromSnapshot(t, name, &first, map[string]string{"greeting": "hello"}),
					},
					{ // New blocks come, and from its sibling the private data of before.
						Config: with(func(b *backedUp) { b.run = 1 }),
						Check:  resource.ComposeTestCheckFunc(level, has("1", "get", "run"), has("100", "getPrivate", "secrets", "price"), before.keep),
					},
					{ // Its volume is lost.
						PreConfig: func() { loseNode(t, name+"-peer1.org1") },
						Config:    lossy(),
						Check:     resource.ComposeTestCheckFunc(joinedFromSnapshot(t, name, &first, map[string]string{"greeting": "hello", "run": "1"}), level, before.keep),
					},
					{Config: forgotten(everything...)},
					{ // A state that was lost finds a peer without a first block on the channel, and transactions that it cannot tell of.
						Config: lossy(),
						Check:  resource.ComposeTestCheckFunc(before.same, level),
					},
				},
			})
		})
	}
}
