package realtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// isLeader matches what a leader's metrics say of a channel.
var isLeader = regexp.MustCompile(`(?m)^consensus_etcdraft_is_leader\{channel="` + channel + `"\} 1`)

func (n *ordererNode) leads(ctx context.Context) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.metric, nil)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return isLeader.Match(body), err
}

// TestLeader watches three ordering nodes find, and lose, their leader.
func TestLeader(t *testing.T) {
	requireReal(t)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			org := newOrganization(t, "Org1MSP")
			n := startNetwork(t, version, 3, org)
			genesis := n.genesis(t, channel)
			peer := n.peers[0].Peer
			await(ctx, t, "the peer", func() error { _, err := endorser.Channels(ctx, peer, org.admin); return err })
			if err := endorser.JoinChannel(ctx, peer, org.admin, genesis); err != nil {
				t.Fatal(err)
			}
			submission := approve(ctx, t, org, peer)
			// Before its ordering nodes have joined, a submission is refused for good.
			var failed *gateway.Error
			if err := gateway.Submit(ctx, peer.Conn, submission); !errors.As(err, &failed) || failed.Code != codes.Aborted {
				t.Errorf("submission to ordering nodes without the channel: %v", err)
			}

			for _, node := range n.orderers {
				await(ctx, t, "the admin endpoint", func() error { _, err := node.admin.List(ctx); return err })
			}
			started := time.Now()
			for _, node := range n.orderers {
				if _, err := node.admin.Join(ctx, genesis); err != nil {
					t.Fatal(err)
				}
				has, err := orderer.HasLeader(ctx, node.conn, org.admin, channel)
				if err != nil || has {
					t.Errorf("HasLeader on %s right after its join: %t, %v", node.name, has, err)
				}
				if _, err := orderer.Block(ctx, node.conn, org.admin, channel, orderer.At(0), orderer.BestEffort()); err != nil {
					t.Errorf("a block from a node without a leader, best effort: %v", err)
				}
			}
			// From here on a submission waits for the leader.
			submitted := make(chan string, 1)
			go func() {
				begun := time.Now()
				err := gateway.Submit(ctx, peer.Conn, submission)
				submitted <- fmt.Sprintf("%s, %v", time.Since(begun).Round(time.Millisecond), err)
			}()
			failures := map[string]int{}
			elapsed := await(ctx, t, "a broadcast", func() error {
				err := orderer.Broadcast(ctx, n.orderers[0].conn, submission.Envelope)
				if err != nil {
					failures[err.Error()]++
				}
				return err
			})
			t.Logf("a broadcast is taken after %s; failures before: %v", elapsed.Round(10*time.Millisecond), failures)
			await(ctx, t, "the metrics of a leader", func() error {
				for _, node := range n.orderers {
					if leads, err := node.leads(ctx); err != nil || leads {
						return err
					}
				}
				return errors.New("none leads")
			})
			metrics := time.Since(started)
			for _, node := range n.orderers {
				if err := orderer.AwaitLeader(ctx, node.conn, org.admin, channel); err != nil {
					t.Error(err)
				}
			}
			t.Logf("a leader shows in metrics %s, on every node's HasLeader %s after the first join",
				metrics.Round(10*time.Millisecond), time.Since(started).Round(10*time.Millisecond))
			t.Logf("submission through the peer's gateway: %s", <-submitted)
			// It was sent twice, and is valid all the same.
			block, err := gateway.CommitStatus(ctx, peer.Conn, org.admin, channel, submission.TxID)
			if err != nil || block == 0 {
				t.Errorf("commit status: block %d, %v", block, err)
			}

			// Two of three gone: the survivor has to notice by itself.
			survivor := n.orderers[0]
			for _, node := range n.orderers[1:] {
				docker(t, nil, "kill", node.name)
			}
			elapsed = await(ctx, t, "the loss of the leader", func() error {
				has, err := orderer.HasLeader(ctx, survivor.conn, org.admin, channel)
				if err == nil && has {
					err = errors.New("a leader shows")
				}
				return err
			})
			got, err := survivor.admin.Get(ctx, channel)
			t.Logf("the loss of quorum showed after %s; participation says %+v, %v", elapsed.Round(100*time.Millisecond), got, err)

			// A submission is worth trying again for as long as the caller can wait, and says how often it was.
			short, end := context.WithTimeout(ctx, 3*time.Second)
			defer end()
			tried := new(retry.Error)
			err = gateway.Submit(short, peer.Conn, submission)
			if !errors.As(err, &tried) || tried.Attempts < 2 || lifecycle.ClassOf(err) != lifecycle.ClassTransient || !strings.Contains(err.Error(), fmt.Sprintf("(%d attempts in ", tried.Attempts)) {
				t.Errorf("submission without a quorum: class %s, %v", lifecycle.ClassOf(err), err)
			} else {
				t.Log(err)
			}
		})
	}
}

func approve(ctx context.Context, t *testing.T, org *organization, peer endorser.Peer) *endorser.Transaction {
	t.Helper()
	transaction, err := lifecycle.Approve(ctx, org.admin, channel, lifecycle.Definition{Name: "kv", Version: "1", Sequence: 1}, "", peer)
	if err != nil {
		t.Fatal(err)
	}
	return transaction
}
