// Who tries the doors of a mesh: certificates that its servers must refuse, and one they must take.
#pragma once

#include <string>

namespace cluster {

struct CertificateAndKey {
  std::string certificate;  // PEM, with its chain
  std::string key;          // PEM
};

struct ImpostorCertificates {
  CertificateAndKey of_the_mesh;     // one that is let in
  CertificateAndKey foreign_ca;      // the same identity, by another authority
  CertificateAndKey wrong_identity;  // by the mesh's authority, of another trust domain
  CertificateAndKey expired;
  CertificateAndKey not_yet_valid;
};

}  // namespace cluster
