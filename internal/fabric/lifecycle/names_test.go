package lifecycle

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for rule, test := range map[string]struct {
		validate  func(string) error
		good, bad []string
	}{
		"name": {ValidateName,
			[]string{"kv", "asset-transfer", "a_b", "A1", "0", "lifecycle", "a-b_c"},
			[]string{"", "-a", "a-", "a--b", "a_-b", "_lifecycle", "a.b", "a b", "ä", "lscc", "qscc", "cscc", "vscc", "escc", "a\n"}},
		"version": {ValidateVersion,
			[]string{"1", "1.0", "v1.0-rc+2", "_", "..."},
			[]string{"", "1 0", "1/0", "1:0", "ä", "1\n"}},
		"label": {ValidateLabel,
			[]string{"kv", "kv_1.0", "0+-._", "A"},
			[]string{"", "_kv", ".kv", "kv:1", "kv 1", "kv/1", "ä", "kv\n"}},
		"collection": {ValidateCollectionName,
			[]string{"secrets", "a_b", "-a", "a-", "0"},
			[]string{"", "_implicit_org_Org1MSP", "a.b", "a b", "a\n"}},
	} {
		for _, text := range test.good {
			if err := test.validate(text); err != nil {
				t.Errorf("%s %q: %v", rule, text, err)
			}
		}
		for _, text := range test.bad {
			if err := test.validate(text); err == nil {
				t.Errorf("%s %q is allowed", rule, text)
			} else if text != "" && strings.TrimSpace(text) == text && !strings.Contains(err.Error(), text) {
				t.Errorf("%s %q is not named: %v", rule, text, err)
			}
		}
	}
}
