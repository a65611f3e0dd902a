// Requests to an API server over TLS, as its administrator: what bringing a cluster up takes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "cluster/pki/pki.h"

namespace cluster::processes {

class ApiClient {
 public:
  // Of the server at 127.0.0.1:`port`, whose certificate `authority` has signed. Errors: system
  // (OpenSSL refuses a certificate).
  static base::Result<ApiClient> create(std::uint16_t port, const std::string& authority,
                                        const pki::KeyPair& client);

  ApiClient(ApiClient&&) noexcept;
  ApiClient& operator=(ApiClient&&) = delete;
  ApiClient(const ApiClient&) = delete;
  ApiClient& operator=(const ApiClient&) = delete;
  ~ApiClient();

  struct Response {
    int status = 0;
    std::string body;
  };

  // One request on a connection of its own. Errors: system (refused, not trusted, cut), timed_out.
  [[nodiscard]] base::Result<Response> request(
      const std::string& method, const std::string& path, const std::string& body = {},
      base::Duration timeout = std::chrono::seconds(5)) const;
  // GET of an object that must be there. Errors: as request(); missing (404), system (another
  // status, with the server's words).
  [[nodiscard]] base::Result<base::Json> get(const std::string& path) const;
  // POST of a new object; one that exists is no error. Errors: as request(); system.
  [[nodiscard]] base::Result<> create_object(const std::string& path,
                                             const base::Json& object) const;
  // The same of one that is written as YAML.
  [[nodiscard]] base::Result<> create_from_yaml(const std::string& path,
                                                const std::string& text) const;

 private:
  struct Tls;
  base::Result<Response> send(const std::string& method, const std::string& path,
                              const std::string& content_type, const std::string& body,
                              base::Duration timeout) const;
  base::Result<> create(const std::string& path, const std::string& content_type,
                        const std::string& body) const;
  ApiClient(std::uint16_t port, std::unique_ptr<Tls> tls);

  std::uint16_t port_ = 0;
  std::unique_ptr<Tls> tls_;
};

}  // namespace cluster::processes
