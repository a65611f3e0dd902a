// Certificates, by OpenSSL's library: one authority and what it signs. Keys are elliptic (P-256),
// which takes no time to make.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace cluster::pki {

// PEM text.
struct KeyPair {
  std::string certificate;
  std::string key;  // PKCS #8
};

// What whoever is shown a certificate reads first.
struct CertificateFacts {
  std::string serial;            // hexadecimal
  std::int64_t not_after_s = 0;  // Unix time
};
// Of the first certificate in a PEM text. Errors: input.
[[nodiscard]] base::Result<CertificateFacts> facts_of(const std::string& pem);

// What a certificate may be shown for (RFC 5280, section 4.2.1.12).
enum class Purpose {
  client,  // clientAuth
  server,  // serverAuth
  both,    // a workload's in a mesh, which dials and is dialled by one
};

// From when until when, seconds from now. Machines' clocks may differ a little, and clusters of
// ours are short-lived.
struct Validity {
  std::chrono::seconds from = -std::chrono::hours(1);
  std::chrono::seconds until = std::chrono::hours(24 * 3650);
};

// Whom a certificate is for. A client's common name and organisation are its user and group. One
// without either is known by its other names alone, which are critical then (RFC 5280, section
// 4.2.1.6), as SPIFFE wants it.
struct Subject {
  std::string common_name = {};
  std::string organisation = {};  // empty: none
  Purpose purpose = Purpose::client;
  std::vector<std::string> dns_names = {};
  std::vector<std::string> addresses = {};
  std::vector<std::string> uris = {};  // "spiffe://cluster.local/ns/default/sa/web"
  Validity validity = {};
};

// A certificate authority.
class Authority {
 public:
  // Errors: system, with OpenSSL's words.
  static base::Result<Authority> create(const std::string& common_name);
  // One that exists, of whatever kind its key is. Errors: system (it is none, or the two do not
  // belong together), with OpenSSL's words.
  static base::Result<Authority> of(KeyPair own);

  Authority(Authority&&) noexcept;
  Authority& operator=(Authority&&) = delete;
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;
  ~Authority();

  // A new key and a certificate for it. Errors: system.
  [[nodiscard]] base::Result<KeyPair> issue(const Subject& subject) const;
  [[nodiscard]] const KeyPair& own() const { return own_; }

 private:
  struct Handles;
  explicit Authority(std::unique_ptr<Handles> handles);

  std::unique_ptr<Handles> handles_;
  KeyPair own_;
};

// The key that service account tokens are signed with. Errors: system.
struct SigningKey {
  std::string private_key;
  std::string public_key;
};
[[nodiscard]] base::Result<SigningKey> make_signing_key();

}  // namespace cluster::pki
