"""Every array of every shipped config is cut where the committed text says."""

import difflib

from absl.testing import absltest

from tests import shardings


class GoldenTest(absltest.TestCase):
  def test_all_arrays_are_cut_as_committed(self):
    committed = shardings.GOLDEN.read_text(encoding="utf-8").splitlines()
    changed = list(
      difflib.unified_diff(committed, shardings.describe_all().splitlines(), lineterm="", n=0)
    )
    if changed:
      self.fail(
        "\n".join(changed[:30])
        + "\nIf it is meant: python -m tests.shardings, and look at the diff"
      )

  def test_the_text_tells_cuts_apart(self):
    text = shardings.GOLDEN.read_text(encoding="utf-8")
    for line in (
      "  embedding [32000,512] (tensor*fsdp, -)",
      "  token_ids [4,16,128] (data*fsdp, sequence, -)",
      "  sentences/slot [4,4,32] (data*fsdp, -, -)",
    ):
      self.assertIn(line + "\n", text)
    for name in shardings.shipped_configs():
      self.assertRegex(text, rf"(?m)^== (.*, )?{name}(,|$)")


if __name__ == "__main__":
  absltest.main()
