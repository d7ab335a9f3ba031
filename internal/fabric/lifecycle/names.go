package lifecycle

import (
	"fmt"
	"regexp"
	"slices"
)

// Fabric's own rules: core/chaincode/lifecycle/scc.go for names, versions and collections,
// core/chaincode/persistence/chaincode_package.go for labels. They are the same in 2.5 and 3.1.
var (
	nameRule       = regexp.MustCompile(`^[a-zA-Z0-9]+([-_][a-zA-Z0-9]+)*$`)
	versionRule    = regexp.MustCompile(`^[A-Za-z0-9_.+-]+$`)
	labelRule      = regexp.MustCompile(`^[[:alnum:]][[:alnum:]_.+-]*$`)
	collectionRule = regexp.MustCompile(`^[A-Za-z0-9-]+([A-Za-z0-9_-]+)*$`)

	systemChaincodes = []string{"cscc", "escc", "lscc", "qscc", "vscc"}
)

// ValidateName tells why Fabric would refuse a chaincode name, or nil.
func ValidateName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("chaincode name %q is not allowed: a name is letters and digits, in groups joined by single '-' or '_'", name)
	}
	if slices.Contains(systemChaincodes, name) {
		return fmt.Errorf("chaincode name %q is not allowed: it is a system chaincode's", name)
	}
	return nil
}

// ValidateVersion tells why Fabric would refuse a chaincode version, or nil.
func ValidateVersion(version string) error {
	if !versionRule.MatchString(version) {
		return fmt.Errorf("chaincode version %q is not allowed: a version is letters, digits and any of '_', '.', '+', '-'", version)
	}
	return nil
}

// ValidateLabel tells why Fabric would refuse a package label, or nil.
func ValidateLabel(label string) error {
	if !labelRule.MatchString(label) {
		return fmt.Errorf("package label %q is not allowed: a label begins with a letter or digit and goes on with letters, digits and any of '_', '.', '+', '-'", label)
	}
	return nil
}

// ValidateCollectionName tells why Fabric would refuse the name of a private data collection, or nil.
func ValidateCollectionName(name string) error {
	if !collectionRule.MatchString(name) {
		return fmt.Errorf("collection name %q is not allowed: a name is letters, digits, '-' and '_', and does not begin with '_'", name)
	}
	return nil
}
