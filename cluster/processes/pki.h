// Certificates for a cluster, by OpenSSL's library: one authority and what it signs. Keys are
// elliptic (P-256), which takes no time to make.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace cluster::processes {

// PEM text.
struct KeyPair {
  std::string certificate;
  std::string key;  // PKCS #8
};

// Whom a certificate is for. A client's common name and organisation are its user and group.
struct Subject {
  std::string common_name;
  std::string organisation = {};            // empty: none
  bool server = false;                      // serverAuth in place of clientAuth
  std::vector<std::string> dns_names = {};  // a server's
  std::vector<std::string> addresses = {};  // a server's
};

// A certificate authority, made new.
class Authority {
 public:
  // Errors: system, with OpenSSL's words.
  static base::Result<Authority> create(const std::string& common_name);

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

}  // namespace cluster::processes
