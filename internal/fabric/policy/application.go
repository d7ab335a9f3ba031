package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// DefaultReference is the channel policy that Fabric's lifecycle takes for a chaincode definition
// without an endorsement policy (core/chaincode/lifecycle, DefaultEndorsementPolicyRef).
const DefaultReference = "/Channel/Application/Endorsement"

// ApplicationPolicy is the endorsement policy of a chaincode definition or a collection: a signature
// policy, or the path of a policy in the channel configuration. Exactly one of them is set; the zero
// value is no policy.
type ApplicationPolicy struct {
	Signature Policy
	Reference string
}

// ParseApplicationPolicy reads a signature policy or, when the text starts with a slash, a reference.
func ParseApplicationPolicy(text string) (ApplicationPolicy, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "/") {
		reference, err := ParseReference(text)
		return ApplicationPolicy{Reference: reference}, err
	}
	if meta, err := ParseImplicitMeta(text); err == nil {
		return ApplicationPolicy{}, fmt.Errorf("a chaincode cannot hold the implicit meta policy %q itself; name a policy of the channel that holds it, as in %q", meta, DefaultReference)
	}
	signature, err := Parse(text)
	return ApplicationPolicy{Signature: signature}, err
}

// IsZero tells whether this is the zero value.
func (p ApplicationPolicy) IsZero() bool { return p.Signature.IsZero() && p.Reference == "" }

// String gives the canonical form of the signature policy, or the reference.
func (p ApplicationPolicy) String() string {
	if p.Reference != "" {
		return p.Reference
	}
	return p.Signature.String()
}

// Equal tells whether both are the same reference, or signature policies with one canonical form.
func (p ApplicationPolicy) Equal(other ApplicationPolicy) bool { return p.String() == other.String() }

// Proto gives the policy as the lifecycle takes it, nil for the zero value.
func (p ApplicationPolicy) Proto() *peer.ApplicationPolicy {
	switch {
	case p.Reference != "":
		return &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{ChannelConfigPolicyReference: p.Reference}}
	case !p.Signature.IsZero():
		return &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_SignaturePolicy{SignaturePolicy: p.Signature.Envelope()}}
	default:
		return nil
	}
}

// Marshal gives the bytes of Proto: the validation parameter of a chaincode definition. Fabric
// compares these bytes when it checks whether organizations approved the same definition. The zero
// value gives nil, for which the lifecycle takes DefaultReference.
func (p ApplicationPolicy) Marshal() ([]byte, error) {
	if p.IsZero() {
		return nil, nil
	}
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(p.Proto())
	if err != nil {
		return nil, fmt.Errorf("unable to marshal the endorsement policy: %w", err)
	}
	return bytes, nil
}

// UnmarshalApplicationPolicy reads the validation parameter of a chaincode definition. No bytes give
// the zero value. The error wraps ErrNotExpressible as FromEnvelope's does.
func UnmarshalApplicationPolicy(bytes []byte) (ApplicationPolicy, error) {
	if len(bytes) == 0 {
		return ApplicationPolicy{}, nil
	}
	p := &peer.ApplicationPolicy{}
	if err := proto.Unmarshal(bytes, p); err != nil {
		return ApplicationPolicy{}, fmt.Errorf("unable to read the endorsement policy: %w", err)
	}
	return ApplicationPolicyFromProto(p)
}

// ApplicationPolicyFromProto reads the policy as the lifecycle gives it.
func ApplicationPolicyFromProto(p *peer.ApplicationPolicy) (ApplicationPolicy, error) {
	switch t := p.GetType().(type) {
	case *peer.ApplicationPolicy_SignaturePolicy:
		signature, err := FromEnvelope(t.SignaturePolicy)
		return ApplicationPolicy{Signature: signature}, err
	case *peer.ApplicationPolicy_ChannelConfigPolicyReference:
		if t.ChannelConfigPolicyReference == "" {
			return ApplicationPolicy{}, errors.New("unable to read the endorsement policy: its reference is empty")
		}
		return ApplicationPolicy{Reference: t.ChannelConfigPolicyReference}, nil
	default:
		return ApplicationPolicy{}, errors.New("unable to read the endorsement policy: it is neither a signature policy nor a reference")
	}
}
