// Package msp holds what Fabric's membership service providers are made of: identities that
// sign, the definition of an organization that channels carry, and the local MSP folder of a node.
//
// Source: Fabric documentation, "Membership Service Provider (MSP)", and the protos msp/identities.proto
// and msp/msp_config.proto.
package msp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// Identity is a member of an MSP that can sign. It satisfies the identity interfaces of
// fabric-gateway and fabric-admin-sdk; gateway clients must be given hash.NONE, because Sign hashes.
type Identity struct {
	// ID is the MSP ID, for example Org1MSP.
	ID string
	// CertificatePEM is the enrolment certificate, one PEM block.
	CertificatePEM []byte
	// Key is the private key of the certificate. Only ECDSA keys sign for Fabric 2.5.
	Key crypto.Signer
}

// MspID gives the MSP ID.
func (i *Identity) MspID() string { return i.ID }

// Credentials gives the certificate in PEM.
func (i *Identity) Credentials() []byte { return i.CertificatePEM }

// Sign hashes the message with SHA-256 and gives an ASN.1 ECDSA signature with a low S, the only
// form that Fabric accepts (bccsp/utils, "low-S").
func (i *Identity) Sign(message []byte) ([]byte, error) {
	key, ok := i.Key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("unable to sign as %s: the key is %T and Fabric wants ECDSA", i.ID, i.Key)
	}
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("unable to sign as %s: %w", i.ID, err)
	}
	if half := new(big.Int).Rsh(key.Params().N, 1); s.Cmp(half) > 0 {
		s.Sub(key.Params().N, s)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{r, s})
}

// Serialized gives the creator bytes of Fabric's headers: a marshalled msp.SerializedIdentity.
func (i *Identity) Serialized() ([]byte, error) {
	return proto.Marshal(&mspproto.SerializedIdentity{Mspid: i.ID, IdBytes: i.CertificatePEM})
}
