// The certificates that ends of tls_handshake show each other.
#include "cluster/pki/pki.h"
#include "stackbench/session.h"

namespace stackbench {

base::Result<std::optional<Session::TlsEnds>> Session::tls_ends(
    const bench::WorkloadSpec& workload) {
  if (workload.kind != bench::WorkloadKind::tls_handshake) return std::nullopt;
  if (!tls_ends_) {
    const std::string name(bench::tls_server_name);
    // By another name than those it signs for: a certificate of its issuer's own name would be
    // taken for one that signed itself.
    ASSIGN_OR_RETURN(const auto authority, cluster::pki::Authority::create(name + " authority"));
    ASSIGN_OR_RETURN(auto server, authority.issue({.common_name = name,
                                                   .purpose = cluster::pki::Purpose::server,
                                                   .dns_names = {name}}));
    ASSIGN_OR_RETURN(auto client, authority.issue({.common_name = name}));
    const auto& trusted = authority.own().certificate;
    tls_ends_ = TlsEnds{.server = {.authority = trusted,
                                   .certificate = std::move(server.certificate),
                                   .key = std::move(server.key)},
                        .client = {.authority = trusted,
                                   .certificate = std::move(client.certificate),
                                   .key = std::move(client.key)}};
  }
  auto ends = *tls_ends_;
  const bool shows = workload.client_certificate.value_or(true);
  const bool resumes = workload.session_resumption == bench::Switch::on;
  ends.server.client_certificate = shows;
  ends.server.resumption = resumes;
  ends.client.resumption = resumes;
  if (!shows) ends.client.certificate = ends.client.key = {};
  return ends;
}

}  // namespace stackbench
