// Impostors at the doors of real servers: one of a mesh, and one that trusts anybody's certificate.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/tls_probe/testing/tls_peer.h"
#include "checks/mtls/impostors_refused.h"

namespace checks {
namespace {

using bench::testing::TestAuthority;
using bench::testing::TlsServer;
using ::testing::HasSubstr;

constexpr const char* web = "spiffe://cluster.local/ns/default/sa/web";
constexpr const char* client = "spiffe://cluster.local/ns/default/sa/client";
constexpr const char* other = "spiffe://other.example/ns/default/sa/client";

struct Impostors : ::testing::Test {
  Finding tried_at(TlsServer::Options options) {
    options.shown = mesh.issue(web);
    options.trusts = mesh.certificate();
    if (options.trust_domain.empty()) options.trust_domain = "spiffe://cluster.local/";
    const TlsServer server(std::move(options));
    const base::UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
    const auto tried = bench::run_tls_probe(
        impostor_doors({.of_the_mesh = issued(mesh.issue(client)),
                        .foreign_ca = issued(foreign.issue(client)),
                        .wrong_identity = issued(mesh.issue(other)),
                        .expired = issued(mesh.issue(client, -7200, -3600)),
                        .not_yet_valid = issued(mesh.issue(client, 3600, 7200))},
                       server.endpoint(), true),
        stop.get());
    if (!tried) return {.sentence = tried.error().message};
    return impostors_refused(*tried);
  }
  static cluster::CertificateAndKey issued(const bench::testing::Issued& pair) {
    return {pair.certificate, pair.key};
  }

  TestAuthority mesh{"mesh"};
  TestAuthority foreign{"foreign"};
};

TEST_F(Impostors, AreRefusedByAServerOfTheMesh) {
  const auto finding = tried_at({});
  EXPECT_EQ(finding.verdict, base::Verdict::pass) << finding.sentence;
}

TEST_F(Impostors, AreFoundWhereAServerTrustsAnybody) {
  const auto finding = tried_at({.trusts_anybody = true});
  EXPECT_EQ(finding.verdict, base::Verdict::fail) << finding.sentence;
  for (const auto* cell : {"foreign_ca: HTTP 200", "wrong_identity: HTTP 200", "expired: HTTP 200",
                           "not_yet_valid: HTTP 200"}) {
    EXPECT_THAT(finding.sentence, HasSubstr(cell));
  }
}

// Each cell by itself: a server that overlooks one thing lets in one impostor.
TEST_F(Impostors, AreFoundOneByOneWhereAServerOverlooksOneThing) {
  struct Case {
    std::string_view cell;
    std::set<int> overlooks;
  };
  for (const auto& [cell, overlooks] :
       {Case{"foreign_ca",
             {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_CERT_UNTRUSTED,
              X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE}},
        Case{"expired", {X509_V_ERR_CERT_HAS_EXPIRED}},
        Case{"not_yet_valid", {X509_V_ERR_CERT_NOT_YET_VALID}}}) {
    const auto finding = tried_at({.overlooks = overlooks});
    EXPECT_EQ(finding.verdict, base::Verdict::fail) << finding.sentence;
    EXPECT_EQ(finding.sentence, fmt::format("1 of 6 impostors were answered: {}: HTTP 200", cell));
  }
  const auto anybodys = tried_at({.trust_domain = "spiffe://"});
  EXPECT_EQ(anybodys.sentence, "1 of 6 impostors were answered: wrong_identity: HTTP 200");
}

TEST_F(Impostors, AreFoundWhereAServerSpeaksInTheClear) {
  const auto finding = tried_at({.in_clear = true});
  EXPECT_EQ(finding.verdict, base::Verdict::fail) << finding.sentence;
  EXPECT_EQ(finding.sentence, "1 of 6 impostors were answered: plaintext: HTTP 200");
}

TEST_F(Impostors, AreFoundWhereAServerSpeaksOldTls) {
  const auto finding = tried_at({.least_version = TLS1_1_VERSION});
  EXPECT_EQ(finding.verdict, base::Verdict::fail) << finding.sentence;
  EXPECT_THAT(finding.sentence, HasSubstr("1 of 6 impostors were answered: tls_1_1: HTTP 200"));
}

}  // namespace
}  // namespace checks
