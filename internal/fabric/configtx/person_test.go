package configtx

import (
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

func TestVerifyPerson(t *testing.T) {
	n := newNetwork(t)
	alice, bob := n.org1.issuer.member(t, "alice", "client"), n.org2.issuer.member(t, "bob", "admin")
	gone := n.org2.issuer.member(t, "gone", "client")
	n.org2.RevocationLists = []string{n.org2.issuer.crlOf(t, gone.pem)}
	block, err := Genesis(n.channel())
	if err != nil {
		t.Fatal(err)
	}
	config, err := Decode(block)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, c := range map[string]struct {
		mspID string
		leaf  leaf
		at    time.Time
		acts  bool
	}{
		"a client":                 {n.org1.ID, alice, now, true},
		"an admin":                 {n.org2.ID, bob, now, true},
		"of another organization":  {n.org2.ID, alice, now, false},
		"of none":                  {"Org9MSP", alice, now, false},
		"of the orderers":          {n.orderer.ID, n.orderer.issuer.member(t, "oscar", "client"), now, false},
		"revoked":                  {n.org2.ID, gone, now, false},
		"expired":                  {n.org1.ID, alice, now.Add(2 * tenYears), false},
		"not valid yet":            {n.org1.ID, alice, now.Add(-2 * time.Hour), false},
		"a peer":                   {n.org1.ID, n.org1.issuer.member(t, "peer0", "peer"), now, false},
		"an ordering node":         {n.org1.ID, n.org1.issuer.member(t, "orderer0", "orderer"), now, false},
		"without a role":           {n.org1.ID, n.org1.issuer.member(t, "mallory", "finance"), now, false},
		"of a CA by the same name": {n.org1.ID, newAuthority(t, "ca."+n.org1.ID, nil).member(t, "alice", "client"), now, false},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := certificate.ParseOne([]byte(c.leaf.pem))
			if err != nil {
				t.Fatal(err)
			}
			if err := config.VerifyPerson(c.mspID, cert, c.at); (err == nil) != c.acts {
				t.Errorf("VerifyPerson gives %v", err)
			}
		})
	}
}
