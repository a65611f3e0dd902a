#include "cluster/pki/impostors.h"

#include <chrono>
#include <utility>

#include <fmt/format.h>

namespace cluster::pki {
namespace {

// As workload certificates of Istio (SECRET_TTL).
constexpr std::chrono::hours certificate_lasts(24);
constexpr std::string_view another_domain = "elsewhere.example";

base::Result<CertificateAndKey> issue(const Authority& by, std::string_view trust_domain,
                                      const std::string& path, const Validity& validity) {
  ASSIGN_OR_RETURN(auto pair, by.issue({.purpose = Purpose::both,
                                        .uris = {fmt::format("spiffe://{}/{}", trust_domain, path)},
                                        .validity = validity}));
  return CertificateAndKey{std::move(pair.certificate), std::move(pair.key)};
}

}  // namespace

base::Result<ImpostorCertificates> issue_impostors(const Authority& of_mesh,
                                                   const std::string& trust_domain,
                                                   const std::string& path,
                                                   const std::string& foreign_name) {
  constexpr Validity good{.until = certificate_lasts};
  constexpr Validity over{.from = -certificate_lasts, .until = -std::chrono::hours(1)};
  constexpr Validity to_come{.from = std::chrono::hours(1), .until = certificate_lasts};
  ASSIGN_OR_RETURN(const auto foreign, Authority::create(foreign_name));
  ImpostorCertificates all;
  ASSIGN_OR_RETURN(all.of_the_mesh, issue(of_mesh, trust_domain, path, good));
  ASSIGN_OR_RETURN(all.foreign_ca, issue(foreign, trust_domain, path, good));
  ASSIGN_OR_RETURN(all.wrong_identity, issue(of_mesh, another_domain, path, good));
  ASSIGN_OR_RETURN(all.expired, issue(of_mesh, trust_domain, path, over));
  ASSIGN_OR_RETURN(all.not_yet_valid, issue(of_mesh, trust_domain, path, to_come));
  return all;
}

}  // namespace cluster::pki
