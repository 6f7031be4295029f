// The manifest of a checkpoint folder; its layout is in trainer/checkpoint/FORMAT.md.
#ifndef WYVERN_TRAINER_CHECKPOINT_MANIFEST_H_
#define WYVERN_TRAINER_CHECKPOINT_MANIFEST_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "autograd/tensor.h"
#include "data/io/hdf5_file.h"
#include "trainer/checkpoint/tensors.h"

namespace wyvern {

inline constexpr char kManifestName[] = "manifest.json";
inline constexpr int64_t kCheckpointFormatVersion = 1;

// Where a part of a tensor lies.
struct ManifestSlice {
  std::string shard;    // file name
  std::string dataset;  // in that file, of shape `size`
  Shape start, size;    // in the tensor's global shape
  uint32_t crc32 = 0;   // of the elements, row-major, little-endian
};

struct ManifestTensor {
  CheckpointTensor tensor;
  std::vector<ManifestSlice> slices;  // they cover the tensor and do not overlap
};

struct ManifestShard {
  std::string file;
  int64_t num_bytes = 0;
};

struct Manifest {
  int64_t step = 0;
  nlohmann::json meta;
  std::vector<ManifestShard> shards;
  std::vector<ManifestTensor> tensors;
};

// The file's text: JSON, whose first line holds the checksum of all that follows it.
std::string ManifestToText(const Manifest& manifest);

// The inverse. `path` names the file in messages. Errors: any byte changed (DataLoss), another
// format version (FailedPrecondition), a structure that the format rules out (DataLoss).
absl::StatusOr<Manifest> ManifestFromText(const std::string& text, const std::string& path);

// The part of one of several writers: shards and tensors alone, whose slices need not cover
// them. The inverse errs as ManifestFromText does.
std::string ManifestPartToText(const Manifest& part);
absl::StatusOr<Manifest> ManifestPartFromText(const std::string& text);

// Adds the shards of `part`, and its slices to the tensors of those names, which are added at the
// end where they are new. DataLoss, naming the tensor, if the two disagree about one.
absl::Status AddManifestPart(const Manifest& part, Manifest* manifest);

// DataLoss if a shard of the manifest is not in the folder in full size.
absl::Status CheckShards(const std::string& folder, const Manifest& manifest);

// The manifest of a checkpoint folder whose shards are all there in full size.
absl::StatusOr<Manifest> ReadManifest(const std::string& folder);

// The checksum of a checkpoint folder's manifest, eight hexadecimal digits: which checkpoint it is,
// wherever it lies. The folder is complete.
absl::StatusOr<std::string> ManifestChecksum(const std::string& folder);

// How a tensor's elements are stored: bf16 as its raw 16 bits, all others as themselves.
Hdf5Type StorageType(DType dtype);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_MANIFEST_H_
