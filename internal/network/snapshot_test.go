package network

import "testing"

func TestSourceFor(t *testing.T) {
	peer := func(name, mspID string) Handle {
		return Handle{Kind: KindPeer, Network: "dev", Name: name, MSPID: mspID}
	}
	late := peer("peer1.org1", "Org1MSP")
	own, behind, other := peer("peer0.org1", "Org1MSP"), peer("peer2.org1", "Org1MSP"), peer("peer0.org2", "Org2MSP")
	for name, test := range map[string]struct {
		have []heightAnswer
		want Handle
	}{
		"nobody":               {nil, Handle{}},
		"the first block only": {[]heightAnswer{{own, 1}, {other, 1}}, Handle{}},
		"its own organization": {[]heightAnswer{{other, 9}, {own, 7}}, own},
		"the furthest of them": {[]heightAnswer{{behind, 5}, {own, 7}, {other, 9}}, own},
		"another organization": {[]heightAnswer{{own, 1}, {other, 9}}, other},
	} {
		got, ok := sourceFor(late, test.have)
		if got != test.want || ok != (test.want != Handle{}) {
			t.Errorf("%s: %v, %t", name, got, ok)
		}
	}
}
