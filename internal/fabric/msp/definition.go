package msp

// Definition is the public part of an organization: what a channel needs to know to recognise its
// members. NodeOUs are always enabled; see ClassifyingCertificate for the CA that they name.
// It marshals to JSON with stable field order; every certificate is one PEM block.
type Definition struct {
	// ID is the MSP ID.
	ID string `json:"msp_id"`
	// RootCertificates are the enrolment roots, at least one.
	RootCertificates []string `json:"root_certificates"`
	// IntermediateCertificates are the enrolment intermediates, each signed by a root or by another one.
	IntermediateCertificates []string `json:"intermediate_certificates,omitempty"`
	// TLSRootCertificates are the roots of TLS certificates, at least one.
	TLSRootCertificates []string `json:"tls_root_certificates"`
	// TLSIntermediateCertificates are the TLS intermediates.
	TLSIntermediateCertificates []string `json:"tls_intermediate_certificates,omitempty"`
	// RevocationLists are CRLs in PEM.
	RevocationLists []string `json:"revocation_lists,omitempty"`
}
