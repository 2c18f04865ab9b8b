# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs when the archive is run: this folder, as hosts get it, is one executable."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import sys

from pgfleet_guard.main import main

sys.exit(main(sys.argv))
