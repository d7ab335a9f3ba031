package provider

import (
	"maps"
	"testing"
)

func TestAdoptionID(t *testing.T) {
	for id, want := range map[string]struct {
		rest       string
		containers map[string]string
		refused    bool
	}{
		"net/peer0.org1":                         {rest: "net/peer0.org1"},
		" net/peer0.org1@peer0.org1=peer0 ":      {rest: "net/peer0.org1", containers: map[string]string{"peer0.org1": "peer0"}},
		"net/orderers@o0=a.example.com,o1=b_1":   {rest: "net/orderers", containers: map[string]string{"o0": "a.example.com", "o1": "b_1"}},
		"net/mychannel/basic@peer0.org1=basic_1": {rest: "net/mychannel/basic", containers: map[string]string{"peer0.org1": "basic_1"}},
		"net/peer0.org1@":                        {refused: true},
		"net/peer0.org1@peer0":                   {refused: true},
		"net/orderers@o0=":                       {refused: true},
		"net/orderers@=a":                        {refused: true},
		"net/orderers@o0=a,o0=b":                 {refused: true},
		"net/orderers@o0=a,":                     {refused: true},
	} {
		rest, containers, err := adoptionID(id)
		if want.refused != (err != nil) || !want.refused && (rest != want.rest || !maps.Equal(containers, want.containers)) {
			t.Errorf("%q gives %q, %v, %v", id, rest, containers, err)
		}
	}
}
