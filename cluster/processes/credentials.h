// Who is who in a cluster: its certificates and kubeconfigs, as files.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "cluster/pki/pki.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/shape.h"

namespace cluster::processes {

struct Credentials {
  std::string authority;  // its certificate
  pki::KeyPair administrator;
};

// Makes an authority and writes each component's certificate, key and kubeconfig, readable for
// their owner alone. Errors: system, not_permitted.
[[nodiscard]] base::Result<Credentials> write_credentials(const Directory& directory,
                                                          const Shape& shape);
// The user's kubeconfig; the API server is at 127.0.0.1:`port`. Errors: system, not_permitted.
[[nodiscard]] base::Result<> write_kubeconfig(const Directory& directory, const Shape& shape,
                                              const Credentials& credentials, std::uint16_t port);

}  // namespace cluster::processes
