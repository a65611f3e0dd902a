#include "cluster/pki/pki.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "cluster/pki/impostors.h"

namespace cluster::pki {
namespace {

template <typename T>
T must(base::Result<T> result) {
  if (!result) throw std::runtime_error(base::describe_error(result.error()));
  return std::move(*result);
}

using Certificate = std::unique_ptr<X509, decltype(&::X509_free)>;

Certificate parse(const std::string& pem) {
  const std::unique_ptr<BIO, decltype(&::BIO_free)> from(
      ::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &::BIO_free);
  Certificate certificate(::PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr), &::X509_free);
  if (!certificate) throw std::runtime_error("no certificate in: " + pem);
  return certificate;
}

// X509_V_OK, or why `certificate` is not trusted for `purpose` by who trusts `authority`.
int verify(const std::string& certificate, const std::string& authority, int purpose) {
  const auto leaf = parse(certificate);
  const auto root = parse(authority);
  const std::unique_ptr<X509_STORE, decltype(&::X509_STORE_free)> store(::X509_STORE_new(),
                                                                        &::X509_STORE_free);
  ::X509_STORE_add_cert(store.get(), root.get());
  const std::unique_ptr<X509_STORE_CTX, decltype(&::X509_STORE_CTX_free)> context(
      ::X509_STORE_CTX_new(), &::X509_STORE_CTX_free);
  ::X509_STORE_CTX_init(context.get(), store.get(), leaf.get(), nullptr);
  ::X509_STORE_CTX_set_purpose(context.get(), purpose);
  // Strictly: the rules of RFC 5280 that Go's and OpenSSL's programs insist on, too.
  ::X509_VERIFY_PARAM_set_flags(::X509_STORE_CTX_get0_param(context.get()),
                                X509_V_FLAG_X509_STRICT);
  ::X509_verify_cert(context.get());
  return ::X509_STORE_CTX_get_error(context.get());
}

std::string subject_of(const std::string& pem) {
  const auto certificate = parse(pem);
  char* text = ::X509_NAME_oneline(::X509_get_subject_name(certificate.get()), nullptr, 0);
  std::string subject = text;
  ::OPENSSL_free(text);
  return subject;
}

TEST(Authority, IssuesWhatIsTrustedForItsPurposeAlone) {
  const auto authority = must(Authority::create("stackbench"));
  const auto client = must(authority.issue({.common_name = "admin", .organisation = "masters"}));
  EXPECT_EQ(verify(client.certificate, authority.own().certificate, X509_PURPOSE_SSL_CLIENT),
            X509_V_OK);
  EXPECT_EQ(verify(client.certificate, authority.own().certificate, X509_PURPOSE_SSL_SERVER),
            X509_V_ERR_INVALID_PURPOSE);
  EXPECT_EQ(subject_of(client.certificate), "/O=masters/CN=admin");

  const auto server = must(authority.issue({.common_name = "api",
                                            .purpose = Purpose::server,
                                            .dns_names = {"localhost"},
                                            .addresses = {"127.0.0.1"}}));
  EXPECT_EQ(verify(server.certificate, authority.own().certificate, X509_PURPOSE_SSL_SERVER),
            X509_V_OK);
  EXPECT_EQ(verify(server.certificate, authority.own().certificate, X509_PURPOSE_SSL_CLIENT),
            X509_V_ERR_INVALID_PURPOSE);
}

TEST(Authority, IsNotTrustedForWhatAnotherSigned) {
  const auto one = must(Authority::create("stackbench"));
  const auto other = must(Authority::create("stackbench"));
  const auto client = must(other.issue({.common_name = "admin"}));
  EXPECT_NE(verify(client.certificate, one.own().certificate, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
}

TEST(Authority, NamesAServersAddressesAndHosts) {
  const auto authority = must(Authority::create("stackbench"));
  const auto server = must(authority.issue({.common_name = "node1",
                                            .purpose = Purpose::server,
                                            .dns_names = {"node1", "kubernetes.default.svc"},
                                            .addresses = {"172.18.0.2", "127.0.0.1"}}));
  const auto certificate = parse(server.certificate);
  const auto has_host = [&](const char* name) {
    return ::X509_check_host(certificate.get(), name, 0, 0, nullptr) == 1;
  };
  const auto has_address = [&](const char* address) {
    return ::X509_check_ip_asc(certificate.get(), address, 0) == 1;
  };
  EXPECT_TRUE(has_host("node1"));
  EXPECT_TRUE(has_host("kubernetes.default.svc"));
  EXPECT_FALSE(has_host("node2"));
  EXPECT_TRUE(has_address("172.18.0.2"));
  EXPECT_TRUE(has_address("127.0.0.1"));
  EXPECT_FALSE(has_address("172.18.0.3"));
}

TEST(Authority, NamesAWorkloadByItsUriAloneAndForBothPurposes) {
  const auto authority = must(Authority::create("cluster.local"));
  const auto workload = must(
      authority.issue({.purpose = Purpose::both, .uris = {"spiffe://cluster.local/ns/a/sa/b"}}));
  for (const int purpose : {X509_PURPOSE_SSL_CLIENT, X509_PURPOSE_SSL_SERVER}) {
    EXPECT_EQ(verify(workload.certificate, authority.own().certificate, purpose), X509_V_OK);
  }
  const auto certificate = parse(workload.certificate);
  int critical = -1;
  const std::unique_ptr<GENERAL_NAMES, decltype(&::GENERAL_NAMES_free)> names(
      static_cast<GENERAL_NAMES*>(
          ::X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, &critical, nullptr)),
      &::GENERAL_NAMES_free);
  ASSERT_TRUE(names);
  EXPECT_EQ(critical, 1);
  ASSERT_EQ(sk_GENERAL_NAME_num(names.get()), 1);
  const auto* name = sk_GENERAL_NAME_value(names.get(), 0);
  ASSERT_EQ(name->type, GEN_URI);
  EXPECT_STREQ(
      reinterpret_cast<const char*>(::ASN1_STRING_get0_data(name->d.uniformResourceIdentifier)),
      "spiffe://cluster.local/ns/a/sa/b");
}

TEST(Authority, IssuesWhatHasExpiredOrIsNotYetValid) {
  using std::chrono::hours;
  const auto authority = must(Authority::create("cluster.local"));
  const auto seen = [&](const Validity& validity) {
    const auto pair = must(authority.issue({.common_name = "web", .validity = validity}));
    return verify(pair.certificate, authority.own().certificate, X509_PURPOSE_SSL_CLIENT);
  };
  EXPECT_EQ(seen({.from = -hours(2), .until = -hours(1)}), X509_V_ERR_CERT_HAS_EXPIRED);
  EXPECT_EQ(seen({.from = hours(1), .until = hours(2)}), X509_V_ERR_CERT_NOT_YET_VALID);
  EXPECT_EQ(seen({.from = -hours(1), .until = hours(1)}), X509_V_OK);
}

TEST(FactsOf, ACertificateAreItsSerialAndItsEnd) {
  const auto authority = must(Authority::create("cluster.local"));
  const auto until = [](std::chrono::seconds lasts) {
    return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now() + lasts);
  };
  const auto least = until(std::chrono::seconds(5));
  const auto one = must(authority.issue({.validity = {.until = std::chrono::seconds(5)}}));
  const auto most = until(std::chrono::seconds(5));
  const auto facts = must(facts_of(one.certificate));
  EXPECT_GE(facts.not_after_s, least);
  EXPECT_LE(facts.not_after_s, most);
  EXPECT_EQ(facts.serial.size(), 32U);
  EXPECT_EQ(facts.serial.find_first_not_of("0123456789ABCDEF"), std::string::npos);
  EXPECT_NE(must(facts_of(must(authority.issue({})).certificate)).serial, facts.serial);
  EXPECT_EQ(facts_of("none").error().kind, base::ErrorKind::input);
}

TEST(Authority, HandsOutTheKeyOfTheCertificate) {
  const auto authority = must(Authority::create("stackbench"));
  const auto pair = must(authority.issue({.common_name = "admin"}));
  const std::unique_ptr<BIO, decltype(&::BIO_free)> from(
      ::BIO_new_mem_buf(pair.key.data(), static_cast<int>(pair.key.size())), &::BIO_free);
  const std::unique_ptr<EVP_PKEY, decltype(&::EVP_PKEY_free)> key(
      ::PEM_read_bio_PrivateKey(from.get(), nullptr, nullptr, nullptr), &::EVP_PKEY_free);
  ASSERT_TRUE(key);
  EXPECT_EQ(::X509_check_private_key(parse(pair.certificate).get(), key.get()), 1);
}

TEST(SigningKey, IsAPair) {
  const auto pair = must(make_signing_key());
  EXPECT_THAT(pair.private_key, testing::StartsWith("-----BEGIN PRIVATE KEY-----"));
  EXPECT_THAT(pair.public_key, testing::StartsWith("-----BEGIN PUBLIC KEY-----"));
}

TEST(Authority, ThatExistsGoesOnWhereItIsReadAgain) {
  const auto made = must(Authority::create("cluster.local"));
  const auto again = must(Authority::of(made.own()));
  const auto leaf = must(again.issue({.common_name = "web", .purpose = Purpose::both}));
  EXPECT_EQ(verify(leaf.certificate, made.own().certificate, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  const auto other = must(Authority::create("cluster.local"));
  EXPECT_FALSE(Authority::of({made.own().certificate, other.own().key})) << "another's key";
  EXPECT_FALSE(Authority::of({"no", "key"}));
}

TEST(Impostors, AreTrustedAsTheirNamesSay) {
  const auto mesh = must(Authority::create("cluster.local"));
  const auto all = must(issue_impostors(mesh, "cluster.local", "ns/a/sa/b", "cluster.local"));
  const auto trusted = [&](const CertificateAndKey& one) {
    return verify(one.certificate, mesh.own().certificate, X509_PURPOSE_SSL_CLIENT);
  };
  EXPECT_EQ(trusted(all.of_the_mesh), X509_V_OK);
  EXPECT_EQ(trusted(all.wrong_identity), X509_V_OK) << "its name alone is wrong";
  EXPECT_NE(trusted(all.foreign_ca), X509_V_OK);
  EXPECT_EQ(trusted(all.expired), X509_V_ERR_CERT_HAS_EXPIRED);
  EXPECT_EQ(trusted(all.not_yet_valid), X509_V_ERR_CERT_NOT_YET_VALID);
}

}  // namespace
}  // namespace cluster::pki
