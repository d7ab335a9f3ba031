package policy

import (
	"fmt"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
)

// ConfigPolicy is a policy of a channel configuration: a signature policy or an implicit meta policy.
// Exactly one of them is set; the zero value is no policy.
type ConfigPolicy struct {
	Signature Policy
	Meta      ImplicitMeta
}

// ParseConfigPolicy reads an implicit meta policy when the text is ANY, ALL or MAJORITY and a name,
// and a signature policy otherwise.
func ParseConfigPolicy(text string) (ConfigPolicy, error) {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	for _, rule := range metaRules {
		if strings.EqualFold(first, string(rule)) {
			meta, err := ParseImplicitMeta(text)
			return ConfigPolicy{Meta: meta}, err
		}
	}
	signature, err := Parse(text)
	return ConfigPolicy{Signature: signature}, err
}

// IsZero tells whether this is the zero value.
func (p ConfigPolicy) IsZero() bool { return p.Signature.IsZero() && p.Meta.IsZero() }

// String gives the text of the implicit meta policy, or the canonical form of the signature policy.
func (p ConfigPolicy) String() string {
	if !p.Meta.IsZero() {
		return p.Meta.String()
	}
	return p.Signature.String()
}

// Proto gives the policy as a channel configuration stores it.
func (p ConfigPolicy) Proto() (*common.Policy, error) {
	out := &common.Policy{}
	var inner proto.Message
	switch {
	case !p.Meta.IsZero():
		out.Type, inner = int32(common.Policy_IMPLICIT_META), p.Meta.Proto()
	case !p.Signature.IsZero():
		out.Type, inner = int32(common.Policy_SIGNATURE), p.Signature.Envelope()
	default:
		return nil, fmt.Errorf("unable to marshal the policy: there is none")
	}
	var err error
	if out.Value, err = (proto.MarshalOptions{Deterministic: true}).Marshal(inner); err != nil {
		return nil, fmt.Errorf("unable to marshal the policy %q: %w", p, err)
	}
	return out, nil
}

// DescribeConfigPolicy gives a policy of a channel configuration as text: what ParseConfigPolicy reads
// where the language has words for it, otherwise what Describe gives. The error means that the policy
// is damaged.
func DescribeConfigPolicy(p *common.Policy) (string, error) {
	switch common.Policy_PolicyType(p.GetType()) {
	case common.Policy_SIGNATURE:
		envelope := &common.SignaturePolicyEnvelope{}
		if err := proto.Unmarshal(p.GetValue(), envelope); err != nil {
			return "", fmt.Errorf("unable to read the signature policy: %w", err)
		}
		return Describe(envelope), nil
	case common.Policy_IMPLICIT_META:
		meta := &common.ImplicitMetaPolicy{}
		if err := proto.Unmarshal(p.GetValue(), meta); err != nil {
			return "", fmt.Errorf("unable to read the implicit meta policy: %w", err)
		}
		parsed, err := ImplicitMetaFromProto(meta)
		if err != nil {
			return "", err
		}
		return parsed.String(), nil
	default:
		return "", fmt.Errorf("unable to read the policy: type %d is unknown", p.GetType())
	}
}
