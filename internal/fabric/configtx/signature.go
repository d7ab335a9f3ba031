package configtx

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// ErrSignatureOfAnother says that a signature is not one of this update by this signer: it signs another
// update, or was changed on its way.
var ErrSignatureOfAnother = errors.New("the signature is not one of this update")

// ParseUpdate reads a config update as it was handed over. The bytes themselves are what is signed: keep
// them, because an update that is marshalled again may have others.
func ParseUpdate(update []byte) (*common.ConfigUpdate, error) {
	parsed := &common.ConfigUpdate{}
	if err := proto.Unmarshal(update, parsed); err != nil {
		return nil, fmt.Errorf("unable to read the config update: %w", err)
	}
	if err := ValidateChannelName(parsed.GetChannelId()); err != nil {
		return nil, fmt.Errorf("unable to read the config update: %w", err)
	}
	if parsed.GetWriteSet() == nil {
		return nil, errors.New("unable to read the config update: it writes nothing")
	}
	for name, set := range map[string]*common.ConfigGroup{"read": parsed.GetReadSet(), "write": parsed.GetWriteSet()} {
		if _, err := elements(set); err != nil {
			return nil, fmt.Errorf("unable to read the config update: its %s set is damaged: %w", name, err)
		}
	}
	return parsed, nil
}

// ParseSignature reads a signature of a config update as it was handed over (common.ConfigSignature).
func ParseSignature(signature []byte) (*common.ConfigSignature, error) {
	parsed := &common.ConfigSignature{}
	if err := proto.Unmarshal(signature, parsed); err != nil {
		return nil, fmt.Errorf("unable to read the signature of a config update: %w", err)
	}
	if _, err := signerOf(parsed); err != nil {
		return nil, fmt.Errorf("unable to read the signature of a config update: %w", err)
	}
	return parsed, nil
}

// SignUpdate signs the bytes of a config update.
func SignUpdate(update []byte, identity *msp.Identity) (*common.ConfigSignature, error) {
	fail := func(err error) error { return fmt.Errorf("unable to sign the config update: %w", err) }
	header, err := signatureHeader(identity)
	if err != nil {
		return nil, fail(err)
	}
	signature, err := identity.Sign(slices.Concat(header, update))
	if err != nil {
		return nil, fail(err)
	}
	return &common.ConfigSignature{SignatureHeader: header, Signature: signature}, nil
}

func signatureHeader(identity *msp.Identity) ([]byte, error) {
	creator, err := identity.Serialized()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return proto.Marshal(&common.SignatureHeader{Creator: creator, Nonce: nonce})
}

// SignerOf gives who made a signature, as it says itself; VerifySignature tells whether that is true.
func SignerOf(signature *common.ConfigSignature) (Signer, error) {
	signer, err := signerOf(signature)
	if err != nil {
		return Signer{}, fmt.Errorf("unable to tell who made the signature: %w", err)
	}
	return signer, nil
}

func signerOf(signature *common.ConfigSignature) (Signer, error) {
	header, creator := &common.SignatureHeader{}, &mspproto.SerializedIdentity{}
	if err := proto.Unmarshal(signature.GetSignatureHeader(), header); err != nil {
		return Signer{}, fmt.Errorf("its header is damaged: %w", err)
	}
	if err := proto.Unmarshal(header.GetCreator(), creator); err != nil {
		return Signer{}, fmt.Errorf("its creator is damaged: %w", err)
	}
	if creator.GetMspid() == "" {
		return Signer{}, errors.New("it names no MSP")
	}
	if _, err := certificate.ParseOne(creator.GetIdBytes()); err != nil {
		return Signer{}, err
	}
	return Signer{MSPID: creator.GetMspid(), CertificatePEM: string(creator.GetIdBytes())}, nil
}

// VerifySignature checks that the signature was made over these bytes with the key of the certificate
// that it holds, and gives its signer. With a certificate (PEM), it must be that one. Whether the channel
// accepts the signer Requirement.Met tells. The error wraps ErrSignatureOfAnother when the signature does
// not fit.
func VerifySignature(update []byte, signature *common.ConfigSignature, certificatePEM string) (Signer, error) {
	signer, err := signerOf(signature)
	if err != nil {
		return Signer{}, fmt.Errorf("unable to verify the signature of the config update: %w", err)
	}
	fail := func(err error) error {
		return fmt.Errorf("unable to verify the signature of %s over the config update: %w", signer.MSPID, err)
	}
	cert, err := certificate.ParseOne([]byte(signer.CertificatePEM))
	if err != nil {
		return Signer{}, fail(err)
	}
	if certificatePEM != "" {
		wanted, err := certificate.ParseOne([]byte(certificatePEM))
		if err != nil {
			return Signer{}, fail(err)
		}
		if !wanted.Equal(cert) {
			return Signer{}, fail(fmt.Errorf("%w: it was made with the certificate of %s and not with that of %s", ErrSignatureOfAnother, cert.Subject.CommonName, wanted.Subject.CommonName))
		}
	}
	if !verifies(cert, slices.Concat(signature.GetSignatureHeader(), update), signature.GetSignature()) {
		return Signer{}, fail(ErrSignatureOfAnother)
	}
	return signer, nil
}

func verifies(cert *x509.Certificate, message, signature []byte) bool {
	switch key := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(message)
		return ecdsa.VerifyASN1(key, digest[:], signature)
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, signature)
	default:
		return false
	}
}

// UpdateEnvelope gives what is sent to an ordering node: the update with its signatures, signed by the
// one who submits it. That signature counts for sending (Submission) and not for the update: the
// submitter who also approves must be among the signatures.
func UpdateEnvelope(channel string, update []byte, signatures []*common.ConfigSignature, submitter *msp.Identity) (*common.Envelope, error) {
	fail := func(err error) error {
		return fmt.Errorf("unable to make the transaction that updates the channel %s: %w", channel, err)
	}
	header, err := signatureHeader(submitter)
	if err != nil {
		return nil, fail(err)
	}
	m := &marshaller{}
	payload := m.marshal(&common.Payload{
		Header: &common.Header{
			ChannelHeader: m.marshal(&common.ChannelHeader{
				Type: int32(common.HeaderType_CONFIG_UPDATE), ChannelId: channel, Timestamp: timestamppb.New(time.Now()),
			}),
			SignatureHeader: header,
		},
		Data: m.marshal(&common.ConfigUpdateEnvelope{ConfigUpdate: update, Signatures: signatures}),
	})
	if m.err != nil {
		return nil, fail(m.err)
	}
	signature, err := submitter.Sign(payload)
	if err != nil {
		return nil, fail(err)
	}
	return &common.Envelope{Payload: payload, Signature: signature}, nil
}
